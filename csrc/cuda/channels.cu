// Channels of one tensor into another, in half precision, channels last: how branches take their part of what layers gave
// that were computed as one, and how they are joined.

namespace fastface {

constexpr int kThreads = 256, kAtOnce = 4;

// `chunks` times eight channels of each pixel; the pixels of a tensor are `*_stride` times eight channels apart.
struct Copy {
  const uint4* from;
  uint4* to;
  int from_stride, to_stride, chunks;
};

// Copy grid.y of up to three; a thread copies a chunk of kAtOnce pixels whose loads do not wait for each other.
extern "C" __global__ void __launch_bounds__(kThreads)
    copy_channels(int pixels, const uint4* from0, uint4* to0, int from_stride0, int to_stride0, int chunks0,
                  const uint4* from1, uint4* to1, int from_stride1, int to_stride1, int chunks1, const uint4* from2,
                  uint4* to2, int from_stride2, int to_stride2, int chunks2) {
  const Copy copies[3] = {{from0, to0, from_stride0, to_stride0, chunks0},
                          {from1, to1, from_stride1, to_stride1, chunks1},
                          {from2, to2, from_stride2, to_stride2, chunks2}};
  const Copy copy = blockIdx.y == 0 ? copies[0] : blockIdx.y == 1 ? copies[1] : copies[2];
  const unsigned int chunks = copy.chunks, end = static_cast<unsigned int>(pixels) * chunks;
  const unsigned int first = blockIdx.x * (kThreads * kAtOnce) + threadIdx.x;
  uint4 v[kAtOnce];
  long long to[kAtOnce];
#pragma unroll
  for (int k = 0; k < kAtOnce; ++k) {
    const unsigned int i = first + k * kThreads;
    if (i >= end) break;
    const unsigned int pixel = i / chunks, chunk = i - pixel * chunks;
    to[k] = static_cast<long long>(pixel) * copy.to_stride + chunk;
    v[k] = __ldg(copy.from + static_cast<long long>(pixel) * copy.from_stride + chunk);
  }
#pragma unroll
  for (int k = 0; k < kAtOnce; ++k) {
    if (first + k * kThreads >= end) break;
    copy.to[to[k]] = v[k];
  }
}

}  // namespace fastface
