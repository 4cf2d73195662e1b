// NV12, P016 or interleaved RGB to RGB in groups of four pixels (see levels.cuh), in display orientation: what the pyramid
// reads.
#include "frame.cuh"

namespace fastface {

struct alignas(4 * sizeof(SAMPLE)) FourSamples {
  SAMPLE v[4];
};

// out [n, height, groups], groups = ceil(width / 4); pixels beyond the width are zero. A thread does a group at a time;
// grid.y is the frame.
extern "C" __global__ void to_quads(const SAMPLE* data, const FrameGeometry* geometry, int groups, uint4* out) {
  const FrameBatch frames(data, geometry);
  const int frame = blockIdx.y, count = frames.height * groups;
  // Four samples at once where they lie as they are displayed and where they may be loaded so.
  const bool at_once = frames.plain() && frames.frame_stride % 4 == 0 && frames.pitch % 4 == 0 &&
                       reinterpret_cast<unsigned long long>(data) % sizeof(FourSamples) == 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
    const int y = i / groups, x = i % groups * 4;
    unsigned int packed[3] = {0, 0, 0};
    const auto add = [&](int k, const int* rgb) {
      for (int c = 0; c < 3; ++c) packed[c] |= static_cast<unsigned int>(rgb[c]) << (8 * k);
    };
    if (at_once && x + 4 <= frames.width) {
      const CodedRow row(frames, frame, y);
      const FourSamples luma = *reinterpret_cast<const FourSamples*>(row.luma + x);
      const FourSamples chroma = *reinterpret_cast<const FourSamples*>(row.chroma + x);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        int rgb[3];
        yuv_to_rgb(frames.matrix, luma.v[k], chroma.v[k & 2], chroma.v[k | 1], rgb);
        add(k, rgb);
      }
    } else {
      for (int k = 0; k < 4; ++k)
        if (x + k < frames.width) {
          int rgb[3];
          fetch_rgb(frames, frame, x + k, y, rgb);
          add(k, rgb);
        }
    }
    out[static_cast<long long>(frame) * count + i] = make_uint4(packed[0], packed[1], packed[2], 0);
  }
}

}  // namespace fastface
