// Face crops straight from NV12. rect [m, 4] int32 is half open and inside the displayed frame; one that is empty gives
// zeros. row [m] int64 says which frame. Outputs are channels last: [m, size, size, 3].
#include "frame.cuh"

namespace fastface {

// Area resampling, scaled for MTCNN; one thread an output pixel, grid.y the crop.
extern "C" __global__ void crop_area(const SAMPLE* data, const FrameGeometry* geometry, const long long* row, const int* rect, int size, OUT* out) {
  const FrameBatch frames(data, geometry);
  const int i = blockIdx.y;
  const int x0 = rect[4 * i], y0 = rect[4 * i + 1], w = rect[4 * i + 2] - x0, h = rect[4 * i + 3] - y0;
  for (int p = blockIdx.x * blockDim.x + threadIdx.x; p < size * size; p += gridDim.x * blockDim.x) {
    OUT* dst = out + (static_cast<long long>(i) * size * size + p) * 3;
    if (w <= 0 || h <= 0) {
      for (int c = 0; c < 3; ++c) store(dst + c, 0.0f);
      continue;
    }
    const int oy = p / size, ox = p % size;
    const int y1 = area_begin(oy, h, size), y2 = area_end(oy, h, size);
    const int x1 = area_begin(ox, w, size), x2 = area_end(ox, w, size);
    float mean[3];
    mean_rgb(frames, row[i], x0 + x1, x0 + x2, y0 + y1, y0 + y2, mean);
    for (int c = 0; c < 3; ++c) store(dst + c, mtcnn_scale(mean[c]));
  }
}

// Triangle filter as wide as the scale (Pillow's BILINEAR), rounded to bytes; [m, 3, size, size] uint8. Output i of n_out
// takes inputs [lo, hi) with weights 1 - |x - center| / filter, divided by their sum.
extern "C" __global__ void crop_triangle(const SAMPLE* data, const FrameGeometry* geometry, const long long* row, const int* rect, int size,
                                         unsigned char* out) {
  const FrameBatch frames(data, geometry);
  const int i = blockIdx.y;
  const int x0 = rect[4 * i], y0 = rect[4 * i + 1], w = rect[4 * i + 2] - x0, h = rect[4 * i + 3] - y0;
  for (int p = blockIdx.x * blockDim.x + threadIdx.x; p < size * size; p += gridDim.x * blockDim.x) {
    const int oy = p / size, ox = p % size;
    const float sx = static_cast<float>(w) / size, sy = static_cast<float>(h) / size;
    const float fx = sx > 1.0f ? sx : 1.0f, fy = sy > 1.0f ? sy : 1.0f;
    const float cx = (ox + 0.5f) * sx, cy = (oy + 0.5f) * sy;
    const int xa = max(static_cast<int>(cx - fx + 0.5f), 0), xb = min(static_cast<int>(cx + fx + 0.5f), w);
    const int ya = max(static_cast<int>(cy - fy + 0.5f), 0), yb = min(static_cast<int>(cy + fy + 0.5f), h);
    float sum[3] = {0.0f, 0.0f, 0.0f}, total = 0.0f;
    for (int y = ya; y < yb; ++y) {
      const float wy = fmaxf(0.0f, 1.0f - fabsf((y - cy + 0.5f) / fy));
      for (int x = xa; x < xb; ++x) {
        const float weight = wy * fmaxf(0.0f, 1.0f - fabsf((x - cx + 0.5f) / fx));
        int rgb[3];
        fetch_rgb(frames, row[i], x0 + x, y0 + y, rgb);
        for (int c = 0; c < 3; ++c) sum[c] += weight * rgb[c];
        total += weight;
      }
    }
    for (int c = 0; c < 3; ++c)
      out[((static_cast<long long>(i) * 3 + c) * size + oy) * size + ox] =
          total > 0.0f ? static_cast<unsigned char>(fminf(sum[c] / total + 0.5f, 255.0f)) : 0;
  }
}

}  // namespace fastface
