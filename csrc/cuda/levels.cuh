// The image pyramid: where its levels lie, and means over windows of the pixels that it is made of.
#pragma once

#include "common/area.h"

namespace fastface {

// One level of the pyramid; fastface/detect/cuda/plan.py packs the same struct.
struct Level {
  long long offset;              // pixels of all frames before this level; its frames follow each other
  long long exact;               // the same in the float32 canvas; -1 if the level is not in it
  int height, width;             // pixels
  int stride;                    // pixels from one row to the next in the canvas, even; what is beyond width is zero
  int rows, columns;             // cells that P-Net gives
  int x_windows, y_windows;      // where the windows of columns and rows begin in the table
  int pyramid_block;             // the first block that computes this level
  int scan_block, scan_columns;  // the first block of the scan, and its tiles in a row
  int wide;                      // 1: windows are large, 8 threads share one
  float scale;                   // of the level
};

// RGB of one byte a sample in groups of four pixels of a row: 4 R, 4 G, 4 B, and 4 bytes that are not used, so that one
// load and three dot products add four pixels. Row y of frame f begins at group (f * height + y) * groups.
struct Quads {
  const uint4* data;
  int height, groups;
  __device__ __forceinline__ const uint4* row(int frame, int y) const {
    return data + (static_cast<long long>(frame) * height + y) * groups;
  }
};

// Windows are packed as begin | end << 16.
__device__ __forceinline__ int window_begin(unsigned int window) { return static_cast<int>(window & 0xffffu); }
__device__ __forceinline__ int window_end(unsigned int window) { return static_cast<int>(window >> 16); }

__device__ __forceinline__ void add_quad(const uint4& quad, unsigned int mask, unsigned int* sum) {
  sum[0] = __dp4a(quad.x, mask, sum[0]);
  sum[1] = __dp4a(quad.y, mask, sum[1]);
  sum[2] = __dp4a(quad.z, mask, sum[2]);
}

// Sums of R, G and B over a window; this lane takes every `lanes`-th row from `lane` on. Loads come in groups of eight that
// do not wait for each other, for it is their latency that takes the time.
__device__ __forceinline__ void window_sum(const Quads& quads, int frame, unsigned int xs, unsigned int ys, int lane,
                                           int lanes, unsigned int* sum) {
  const int x1 = window_begin(xs), x2 = window_end(xs) - 1;
  const int first = x1 >> 2, across = (x2 >> 2) - first;
  unsigned int mask_first = 0x01010101u << (8 * (x1 & 3)), mask_last = 0x01010101u >> (8 * (3 - (x2 & 3)));
  if (across == 0) {
    mask_first &= mask_last;
    mask_last = 0;
  }
  sum[0] = sum[1] = sum[2] = 0;
  const int rows = window_end(ys) - window_begin(ys);
  const uint4* const begin = quads.row(frame, window_begin(ys)) + first;
  if (across <= 1) {
    for (int y = lane; y < rows; y += 4 * lanes) {
      uint4 left[4], right[4];
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const uint4* p = begin + min(y + k * lanes, rows - 1) * quads.groups;
        left[k] = p[0];
        right[k] = p[across];
      }
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const bool inside = y + k * lanes < rows;
        add_quad(left[k], inside ? mask_first : 0, sum);
        add_quad(right[k], inside ? mask_last : 0, sum);
      }
    }
    return;
  }
  for (int y = lane; y < rows; y += lanes) {
    const uint4* p = begin + y * quads.groups;
    for (int w = 0; w <= across; w += 8) {
      uint4 quad[8];
#pragma unroll
      for (int k = 0; k < 8; ++k) quad[k] = p[min(w + k, across)];
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        const int at = w + k;
        add_quad(quad[k], at == 0 ? mask_first : at < across ? 0x01010101u : at == across ? mask_last : 0, sum);
      }
    }
  }
}

// Means of R, G and B from their sums, rounded once, as on the CPU.
__device__ __forceinline__ void window_mean(unsigned int xs, unsigned int ys, const unsigned int* sum, float* mean) {
  const float area = static_cast<float>((window_end(xs) - window_begin(xs)) * (window_end(ys) - window_begin(ys)));
  for (int c = 0; c < 3; ++c) mean[c] = __fdiv_rn(static_cast<float>(sum[c]), area);
}

// All lanes of a team of 8 or 32 receive the sums over a window that they share; whole warps must call this.
template <int LANES>
__device__ __forceinline__ void team_window_sum(const Quads& quads, int frame, unsigned int xs, unsigned int ys,
                                                unsigned int* sum) {
  window_sum(quads, frame, xs, ys, threadIdx.x % LANES, LANES, sum);
  for (int c = 0; c < 3; ++c)
    for (int step = LANES / 2; step > 0; step /= 2) sum[c] += __shfl_xor_sync(0xffffffffu, sum[c], step);
}

}  // namespace fastface
