// Inner products of float32 vectors: one that has the same bits on every machine, and fast ones that find candidates.
#pragma once

#include <string>
#include <vector>

#include "core/kernels.h"

namespace fastface {

// What the machine has, the fastest first: "avx512", "avx2", "baseline".
std::vector<std::string> simd_levels();

// The level in use: the fastest, or the one of the environment variable FASTFACE_SIMD.
const Kernels& kernels();

// Changes the level for all that starts from now on. Throws std::invalid_argument for one that the machine lacks.
void set_simd_level(const std::string& name);

// Inner product, the same bits on every machine.
float dot(const float* a, const float* b, int n);

// How far any of the fast kernels may be from `dot`, for vectors whose norms have this product.
float rounding_bound(int dim, double norms);

}  // namespace fastface
