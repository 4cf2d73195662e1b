// What one level of SIMD offers. Only <cstdint>: files that are compiled for a level include this.
#pragma once

#include <cstdint>

namespace fastface {

constexpr int kMaxBlock = 240;  // rows that the fast kernels score at once; what they write stays in the cache
constexpr int kMaxPanel = 32;   // queries of the widest panel

// One level of SIMD. All pointers to vectors are 64-byte aligned and `stride` is a multiple of 16 floats, zero padded.
struct Kernels {
  const char* name;
  int lanes;  // floats of one register; a panel has one or two registers of queries
  int tile;   // rows of which `panel` tells the best

  // Sixteen partial sums in a fixed order, never fused: the same bits on every level. No alignment needed.
  float (*dot)(const float* a, const float* b, int n);

  // out[i] = sum of squares of vectors[i], added up in any order; vectors [n, dim]. No alignment needed.
  void (*squares)(const float* vectors, int64_t n, int dim, float* out);

  // out[r] = rows[r] . query for r < count; query [stride] -> the best of them.
  float (*one)(const float* rows, int64_t stride, int count, const float* query, float* out);

  // out[r * width + q] = rows[r] . (query q of the panel), and the best of each tile; panel [dim, width],
  // width = registers * lanes.
  void (*panel)(const float* rows, int64_t stride, int count, const float* panel, int dim, int registers, float* out,
                float* tile_best);

  // Queries [count <= width, dim] -> panel [dim, width]; missing ones are zero.
  void (*pack)(const float* queries, int64_t count, int dim, int width, float* panel);
};

}  // namespace fastface
