#pragma once

#include <cuda_fp16.h>

namespace fastface {

__device__ __forceinline__ float prelu(float x, float slope) { return x > 0.0f ? x : slope * x; }

// Of two values at once, in half precision: x + (slope - 1) * min(x, 0), which takes two instructions.
__device__ __forceinline__ __half2 prelu_slopes(float a, float b) { return __floats2half2_rn(a - 1.0f, b - 1.0f); }
__device__ __forceinline__ __half2 prelu2(__half2 x, __half2 slopes) {
  return __hfma2(slopes, __hmin2(x, __floats2half2_rn(0.0f, 0.0f)), x);
}

__device__ __forceinline__ unsigned int bits(__half2 h) { return *reinterpret_cast<const unsigned int*>(&h); }

}  // namespace fastface
