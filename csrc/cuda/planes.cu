// NV12, P016 or interleaved RGB to planar RGB of one byte a sample, in display orientation: what the pyramid reads.
#include "frame.cuh"

namespace fastface {

// out [n, 3, height, pitch]; pitch is a multiple of 4, what is beyond the width is zero. One thread four pixels of a row;
// grid.y is the frame.
extern "C" __global__ void to_planes(const SAMPLE* data, const FrameGeometry* geometry, int pitch, unsigned char* out) {
  const FrameBatch frames(data, geometry);
  const int words = pitch / 4, frame = blockIdx.y;
  const long long plane = static_cast<long long>(frames.height) * words;
  unsigned int* dst = reinterpret_cast<unsigned int*>(out) + 3ll * frame * plane;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < frames.height * words; i += gridDim.x * blockDim.x) {
    const int y = i / words, x = i % words * 4;
    unsigned int packed[3] = {0, 0, 0};
    for (int k = 0; k < 4; ++k) {
      if (x + k >= frames.width) break;
      int rgb[3];
      fetch_rgb(frames, frame, x + k, y, rgb);
      for (int c = 0; c < 3; ++c) packed[c] |= static_cast<unsigned int>(rgb[c]) << (8 * k);
    }
    for (int c = 0; c < 3; ++c) dst[c * plane + i] = packed[c];
  }
}

}  // namespace fastface
