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

}  // namespace fastface
