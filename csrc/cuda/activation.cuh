#pragma once

namespace fastface {

__device__ __forceinline__ float prelu(float x, float slope) { return x > 0.0f ? x : slope * x; }

}  // namespace fastface
