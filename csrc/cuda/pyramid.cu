// NV12 to every level of the image pyramid by area resampling, one launch for all levels and frames.
#include "frame.cuh"

namespace fastface {

// Level l of frame n is [heights[l], widths[l], 3] at out + offsets[l] + n * heights[l] * widths[l] * 3: each level is
// one channels-last tensor of all frames. first[l] is the number of pixels of the levels before l; grid.y is the frame.
// scaled != 0 scales for MTCNN, else values stay in [0, 255].
extern "C" __global__ void pyramid(const SAMPLE* data, const FrameGeometry* geometry, int levels, const int* heights, const int* widths,
                                   const int* first, const long long* offsets, int pixels, int scaled, OUT* out) {
  const FrameBatch frames(data, geometry);
  const int frame = blockIdx.y;
  for (int p = blockIdx.x * blockDim.x + threadIdx.x; p < pixels; p += gridDim.x * blockDim.x) {
    int level = 0;
    while (level + 1 < levels && p >= first[level + 1]) ++level;
    const int h = heights[level], w = widths[level], local = p - first[level];
    const int oy = local / w, ox = local % w;
    const int y1 = area_begin(oy, frames.height, h), y2 = area_end(oy, frames.height, h);
    const int x1 = area_begin(ox, frames.width, w), x2 = area_end(ox, frames.width, w);
    float mean[3];
    mean_rgb(frames, frame, x1, x2, y1, y2, mean);
    OUT* dst = out + offsets[level] + (static_cast<long long>(frame) * h * w + local) * 3;
    for (int c = 0; c < 3; ++c) store(dst + c, scaled ? mtcnn_scale(mean[c]) : mean[c]);
  }
}

// What P-Net looks at for single cells: item i is cell tie[i] & (2^26 - 1) of level tie[i] >> 26 of frame row[i]; out
// [m, 12, 12, 3] float32, scaled for MTCNN, zero beyond the level. The same means as the level itself has.
extern "C" __global__ void cells(const SAMPLE* data, const FrameGeometry* geometry, const int* heights,
                                 const int* widths, const long long* row, const unsigned int* tie, int m, float* out) {
  const FrameBatch frames(data, geometry);
  for (long long i = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x; i < m * 144ll;
       i += static_cast<long long>(gridDim.x) * blockDim.x) {
    const int item = static_cast<int>(i / 144), p = static_cast<int>(i % 144);
    const int level = tie[item] >> 26, cell = tie[item] & ((1u << 26) - 1);
    const int h = heights[level], w = widths[level];
    const int per_row = (w - 1) / 2 - 4;  // P-Net's output is ceil((w - 2) / 2) - 4 wide
    const int y = cell / per_row * 2 + p / 12, x = cell % per_row * 2 + p % 12;
    float mean[3] = {127.5f, 127.5f, 127.5f};
    if (y < h && x < w)
      mean_rgb(frames, row[item], area_begin(x, frames.width, w), area_end(x, frames.width, w),
               area_begin(y, frames.height, h), area_end(y, frames.height, h), mean);
    for (int c = 0; c < 3; ++c) out[3 * i + c] = mtcnn_scale(mean[c]);
  }
}

}  // namespace fastface
