// Convolutions of 3 x 3 by which a warp goes down the rows of a tensor, so that a row of the input is loaded once. A tile
// is pixels of one row.
#pragma once

#include "activation.cuh"
#include "mma.cuh"

namespace fastface {

// What the lane has that holds the next pixel of a tile; the last one's lanes get what the first one's have.
__device__ __forceinline__ float next_pixel(float v) { return __shfl_sync(0xffffffffu, v, (threadIdx.x + 4) & 31); }
__device__ __forceinline__ float2 next_pixel(float2 v) { return make_float2(next_pixel(v.x), next_pixel(v.y)); }
__device__ __forceinline__ __half2 next_pixel(__half2 v) {
  const unsigned int next = __shfl_sync(0xffffffffu, bits(v), (threadIdx.x + 4) & 31);
  return *reinterpret_cast<const __half2*>(&next);
}

// Adds what tile `a` of the input's row r gives to the rows of the output, ROWS of them, that see it. Sums of KEPT rows are
// there, of row y at y % KEPT, of N groups of 8 channels each; weight(ky, group) gives a lane's weights.
template <int ROWS, int KEPT, int N, class Weight>
__device__ __forceinline__ void add_row(float (&sum)[KEPT][N][4], int r, const unsigned int (&a)[4], Weight weight) {
#pragma unroll
  for (int ky = 0; ky < 3; ++ky)
    if (r - ky >= 0 && r - ky < ROWS)
#pragma unroll
      for (int j = 0; j < N; ++j) mma16816(sum[(r - ky) % KEPT][j], a, weight(ky, j));
}

}  // namespace fastface
