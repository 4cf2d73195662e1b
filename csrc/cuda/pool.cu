// Pooling by the largest of 3 x 3, 2 apart, in half precision, channels last.
#include "activation.cuh"

namespace fastface {

constexpr int kThreads = 256;

__device__ __forceinline__ unsigned int larger(unsigned int a, unsigned int b) {
  return bits(__hmax2(*reinterpret_cast<const __half2*>(&a), *reinterpret_cast<const __half2*>(&b)));
}

// in [n, height, width, chunks * 8] to [n, (height - 1) / 2, (width - 1) / 2, ...], whose pixels are out_stride times eight
// channels apart. A thread does eight channels of a pixel; grid.y is the image.
extern "C" __global__ void __launch_bounds__(kThreads)
    max_pool(const uint4* in, int height, int width, int chunks, uint4* out, int out_stride) {
  const int across = (width - 1) / 2, down = (height - 1) / 2, i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= down * across * chunks) return;
  const int pixel = i / chunks, chunk = i - pixel * chunks, y = pixel / across, x = pixel - y * across;
  const uint4* const from = in + ((static_cast<long long>(blockIdx.y) * height + 2 * y) * width + 2 * x) * chunks + chunk;
  uint4 v[9];
#pragma unroll
  for (int k = 0; k < 9; ++k) v[k] = __ldg(from + (k / 3 * width + k % 3) * chunks);
  uint4 best = v[0];
#pragma unroll
  for (int k = 1; k < 9; ++k) {
    best = make_uint4(larger(best.x, v[k].x), larger(best.y, v[k].y), larger(best.z, v[k].z), larger(best.w, v[k].w));
  }
  out[(static_cast<long long>(blockIdx.y) * down * across + pixel) * out_stride + chunk] = best;
}

}  // namespace fastface
