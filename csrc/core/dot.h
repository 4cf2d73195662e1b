// Inner products of float32 vectors, the same bits on every machine.
#pragma once

namespace fastface {

float dot(const float* a, const float* b, int n);

}  // namespace fastface
