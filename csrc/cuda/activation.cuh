#pragma once

#include <cuda_fp16.h>

namespace fastface {

__device__ __forceinline__ float prelu(float x, float slope) { return x > 0.0f ? x : slope * x; }

// Of two values at once, in half precision.
__device__ __forceinline__ __half2 prelu2(__half2 x, __half2 slope) {
  const __half2 zero = __floats2half2_rn(0.0f, 0.0f);
  return __hfma2(slope, __hmin2(x, zero), __hmax2(x, zero));
}

__device__ __forceinline__ unsigned int bits(__half2 h) { return *reinterpret_cast<const unsigned int*>(&h); }

// Tiles of a convolution have a pixel a row (mma.cuh): what the lane has that holds the next one,
// and the last one's lanes what the first one's have.
__device__ __forceinline__ float next_pixel(float v) { return __shfl_sync(0xffffffffu, v, (threadIdx.x + 4) & 31); }
__device__ __forceinline__ float2 next_pixel(float2 v) { return make_float2(next_pixel(v.x), next_pixel(v.y)); }
__device__ __forceinline__ __half2 next_pixel(__half2 v) {
  const unsigned int next = __shfl_sync(0xffffffffu, bits(v), (threadIdx.x + 4) & 31);
  return *reinterpret_cast<const __half2*>(&next);
}

}  // namespace fastface
