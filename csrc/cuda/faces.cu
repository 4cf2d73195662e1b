// Crops as the embedder sees them: scaled, in half precision, channels last.
#include "mma.cuh"

namespace fastface {

constexpr int kThreads = 256, kPixels = 160 * 160, kBytes = 3 * kPixels;

// moments [n, 2] float32: mean and (population) standard deviation of each crop [3, 160, 160] of bytes, from whole-number
// sums. A block a crop.
extern "C" __global__ void __launch_bounds__(kThreads) face_moments(const uint4* crops, float* moments) {
  __shared__ unsigned int sums[kThreads / 32];
  __shared__ unsigned long long squares[kThreads / 32];
  const uint4* const crop = crops + static_cast<long long>(blockIdx.x) * (kBytes / 16);
  unsigned int sum = 0, square = 0;  // of 19 times 16 bytes at most
  for (int i = threadIdx.x; i < kBytes / 16; i += kThreads) {
    const uint4 v = __ldg(crop + i);
    sum = __dp4a(v.x, 0x01010101u, __dp4a(v.y, 0x01010101u, sum));
    sum = __dp4a(v.z, 0x01010101u, __dp4a(v.w, 0x01010101u, sum));
    square = __dp4a(v.x, v.x, __dp4a(v.y, v.y, square));
    square = __dp4a(v.z, v.z, __dp4a(v.w, v.w, square));
  }
  unsigned long long wide = square;
  for (int step = 16; step > 0; step /= 2) {
    sum += __shfl_xor_sync(0xffffffffu, sum, step);
    wide += __shfl_xor_sync(0xffffffffu, wide, step);
  }
  if (threadIdx.x % 32 == 0) {
    sums[threadIdx.x / 32] = sum;
    squares[threadIdx.x / 32] = wide;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    unsigned long long all = 0, of_squares = 0;
    for (int k = 0; k < kThreads / 32; ++k) {
      all += sums[k];
      of_squares += squares[k];
    }
    const double variance = static_cast<double>(kBytes * of_squares - all * all);  // times kBytes^2
    moments[2 * blockIdx.x] = static_cast<float>(static_cast<double>(all) / kBytes);
    moments[2 * blockIdx.x + 1] = static_cast<float>(sqrt(variance) / kBytes);
  }
}

// crops [n, 3, 160, 160] of bytes to out [n, 160, 160, 8]: R, G, B, and zeros, for tensor cores take channels by eight.
// (x - mean) / max(deviation, 1 / sqrt(3 * 160 * 160)) with the crop's moments, or where these are null (x - 127.5) / 128.
// A thread a pixel; grid.y is the crop.
extern "C" __global__ void __launch_bounds__(kThreads)
    scale_faces(const unsigned char* crops, const float* moments, uint4* out) {
  const int face = blockIdx.y, p = blockIdx.x * kThreads + threadIdx.x;
  const unsigned char* const crop = crops + static_cast<long long>(face) * kBytes;
  const float mean = moments ? __ldg(moments + 2 * face) : 127.5f;
  const float divisor = moments ? fmaxf(__ldg(moments + 2 * face + 1), 0.0036084391824351613f) : 128.0f;
  float v[3];
#pragma unroll
  for (int c = 0; c < 3; ++c) v[c] = __fdiv_rn(static_cast<float>(__ldg(crop + c * kPixels + p)) - mean, divisor);
  out[static_cast<long long>(face) * kPixels + p] = make_uint4(pack_half2(v[0], v[1]), pack_half2(v[2], 0.0f), 0, 0);
}
static_assert(kPixels % kThreads == 0, "");

}  // namespace fastface
