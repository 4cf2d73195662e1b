// NV12, P016 or interleaved RGB to RGB in groups of four pixels (see levels.cuh), in display orientation: what the pyramid
// reads.
#include "frame.cuh"

namespace fastface {

// out [n, height, groups], groups = ceil(width / 4); pixels beyond the width are zero. One thread a group; grid.y is the
// frame.
extern "C" __global__ void to_quads(const SAMPLE* data, const FrameGeometry* geometry, int groups, uint4* out) {
  const FrameBatch frames(data, geometry);
  const int frame = blockIdx.y, count = frames.height * groups;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
    const int y = i / groups, x = i % groups * 4;
    unsigned int packed[3] = {0, 0, 0};
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (x + k < frames.width) {
        int rgb[3];
        fetch_rgb(frames, frame, x + k, y, rgb);
        for (int c = 0; c < 3; ++c) packed[c] |= static_cast<unsigned int>(rgb[c]) << (8 * k);
      }
    out[static_cast<long long>(frame) * count + i] = make_uint4(packed[0], packed[1], packed[2], 0);
  }
}

}  // namespace fastface
