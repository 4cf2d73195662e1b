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
  int x_regions, y_regions;      // where the first columns and rows of regions begin in the table, for pyramid.cu
  int pyramid_block;             // the first block that computes this level, where its windows are wide
  int scan_block, scan_columns;  // the first block of the scan, and its tiles in a row
  float scale;                   // of the level
};

// The level that a block works on: the last whose first block, the member BEGIN, is not beyond it. Whole warps must call
// this.
template <int Level::* BEGIN>
__device__ __forceinline__ int level_of(const Level* levels, int count, int block) {
  int found = -1;
  for (int first = 0; first < count; first += 32) {
    const int l = first + static_cast<int>(threadIdx.x & 31);
    found += __popc(__ballot_sync(0xffffffffu, l < count && levels[l].*BEGIN <= block));
  }
  return found;
}

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

// The pixels of a window that are in the group of four number `at` of those it reaches over, 0 to `across`: a bit a pixel.
struct WindowGroups {
  int first, across;
  unsigned int mask_first, mask_last;
  __device__ __forceinline__ explicit WindowGroups(unsigned int xs) {
    const int x1 = window_begin(xs), x2 = window_end(xs) - 1;
    first = x1 >> 2;
    across = (x2 >> 2) - first;
    mask_first = 0x01010101u << (8 * (x1 & 3));
    mask_last = 0x01010101u >> (8 * (3 - (x2 & 3)));
    if (across == 0) mask_first = mask_last = mask_first & mask_last;
  }
  __device__ __forceinline__ unsigned int mask(int at) const {
    return at == 0 ? mask_first : at == across ? mask_last : 0x01010101u;
  }
};

__device__ __forceinline__ uint4 load_if(bool inside, const uint4* p) { return inside ? *p : make_uint4(0, 0, 0, 0); }

// Sums of R, G and B over a window. Loads come in groups of eight that do not wait for each other, for it is their latency
// that takes the time; only groups that the window reaches over are loaded.
__device__ __forceinline__ void window_sum(const Quads& quads, int frame, unsigned int xs, unsigned int ys,
                                           unsigned int* sum) {
  const WindowGroups window(xs);
  const int rows = window_end(ys) - window_begin(ys), across = window.across;
  const uint4* const begin = quads.row(frame, window_begin(ys)) + window.first;
  sum[0] = sum[1] = sum[2] = 0;
  if (across <= 1) {
    for (int y = 0; y < rows; y += 4) {
      uint4 left[4], right[4];
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const uint4* const p = begin + (y + k) * quads.groups;
        left[k] = load_if(y + k < rows, p);
        right[k] = load_if(y + k < rows && across, p + 1);
      }
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        add_quad(left[k], window.mask_first, sum);
        add_quad(right[k], window.mask_last, sum);
      }
    }
    return;
  }
  for (int w = 0; w <= across; w += 4) {
    unsigned int mask[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) mask[k] = window.mask(w + k);
    for (int y = 0; y < rows; y += 2) {
      uint4 quad[2][4];
#pragma unroll
      for (int r = 0; r < 2; ++r)
#pragma unroll
        for (int k = 0; k < 4; ++k)
          quad[r][k] = load_if(y + r < rows && w + k <= across, begin + (y + r) * quads.groups + w + k);
#pragma unroll
      for (int r = 0; r < 2; ++r)
#pragma unroll
        for (int k = 0; k < 4; ++k) add_quad(quad[r][k], mask[k], sum);
    }
  }
}

// Means of R, G and B from their sums, rounded once, as on the CPU.
__device__ __forceinline__ void window_mean(unsigned int xs, unsigned int ys, const unsigned int* sum, float* mean) {
  const float area = static_cast<float>((window_end(xs) - window_begin(xs)) * (window_end(ys) - window_begin(ys)));
  for (int c = 0; c < 3; ++c) mean[c] = __fdiv_rn(static_cast<float>(sum[c]), area);
}

// The same for half precision, not rounded exactly; scaled for MTCNN or not.
__device__ __forceinline__ void rough_mean(unsigned int xs, unsigned int ys, const unsigned int* sum, bool scaled,
                                           float* mean) {
  const int area = (window_end(xs) - window_begin(xs)) * (window_end(ys) - window_begin(ys));
  const float inverse = __fdividef(scaled ? 0.0078125f : 1.0f, static_cast<float>(area));
  for (int c = 0; c < 3; ++c) mean[c] = fmaf(static_cast<float>(sum[c]), inverse, scaled ? -127.5f * 0.0078125f : 0.0f);
}

// Bytes 0 and 2 of each, and 1 and 3, to two sums of 16 bits.
__device__ __forceinline__ void add_packed(const uint4& quad, unsigned int* even, unsigned int* odd) {
  even[0] += quad.x & 0x00ff00ffu;
  even[1] += quad.y & 0x00ff00ffu;
  even[2] += quad.z & 0x00ff00ffu;
  odd[0] += __byte_perm(quad.x, 0, 0x4341);
  odd[1] += __byte_perm(quad.y, 0, 0x4341);
  odd[2] += __byte_perm(quad.z, 0, 0x4341);
}

// Sums of R, G and B down `rows` rows of four columns, to four columns of R | G << 16 and B: the first half of the sums
// over windows that lie side by side, which then add up columns. Sums of up to 257 rows fit into 16 bits.
__device__ __forceinline__ void column_sums(const uint4* p, int step, int rows, uint4* to) {
  unsigned int even[3] = {}, odd[3] = {};        // two sums of 16 bits each, of pixels 0 and 2, 1 and 3
  for (; rows >= 4; rows -= 4, p += 4 * step) {  // loads that do not wait for each other
    const uint4 a = p[0], b = p[step], c = p[2 * step], d = p[3 * step];
    add_packed(a, even, odd);
    add_packed(b, even, odd);
    add_packed(c, even, odd);
    add_packed(d, even, odd);
  }
  if (rows >= 2) {
    const uint4 a = p[0], b = p[step];
    add_packed(a, even, odd);
    add_packed(b, even, odd);
    p += 2 * step;
  }
  if (rows & 1) add_packed(*p, even, odd);
  to[0] = make_uint4((even[0] & 0xffffu) | even[1] << 16, even[2] & 0xffffu, (odd[0] & 0xffffu) | odd[1] << 16,
                     odd[2] & 0xffffu);
  to[1] = make_uint4(even[0] >> 16 | (even[1] & 0xffff0000u), even[2] >> 16, odd[0] >> 16 | (odd[1] & 0xffff0000u),
                     odd[2] >> 16);
}

// The sum over some columns that column_sums left, of up to 257 pixels, whose sum fits into 16 bits.
__device__ __forceinline__ void add_columns(const uint2* columns, int count, unsigned int* sum) {
  uint2 total = {0, 0};
  for (int i = 0; i < count; ++i) {
    total.x += columns[i].x;
    total.y += columns[i].y;
  }
  sum[0] = total.x & 0xffffu;
  sum[1] = total.x >> 16;
  sum[2] = total.y;
}

// The same of any number of pixels.
__device__ __forceinline__ void add_wide_columns(const uint2* columns, int count, unsigned int* sum) {
  sum[0] = sum[1] = sum[2] = 0;
  for (int i = 0; i < count; ++i) {
    sum[0] += columns[i].x & 0xffffu;
    sum[1] += columns[i].x >> 16;
    sum[2] += columns[i].y;
  }
}

// Sums down columns, for windows that lie side by side in some rows of windows: `reach` groups of four columns from group
// `first` on, of a row of windows after the other.
struct Columns {
  uint4* sums;  // two a group
  int first, reach;
  // Adds up `rows` rows of windows, window(row) down; `threads` threads share the work, of which this is number `thread`.
  // Groups are at most 65,535 / (reach - 1), so that their numbers are divided by multiplying.
  template <class Window>
  __device__ __forceinline__ void add(const Quads& quads, int frame, int rows, int thread, int threads,
                                      Window window) const {
    const int inverse = (65535 + reach) / reach;
    for (int k = thread; k < rows * reach; k += threads) {
      const int row = k * inverse >> 16;
      const unsigned int ys = window(row);
      column_sums(quads.row(frame, window_begin(ys)) + first + k - row * reach, quads.groups,
                  window_end(ys) - window_begin(ys), sums + 2 * k);
    }
  }
  // The sum over window xs of a row of windows.
  __device__ __forceinline__ void window_sum(int row, unsigned int xs, unsigned int* sum) const {
    add_columns(reinterpret_cast<const uint2*>(sums) + 4 * (row * reach - first) + window_begin(xs),
                window_end(xs) - window_begin(xs), sum);
  }
};

// All lanes of a team of 8 or 32 receive the sums over a window that they share; whole warps must call this. Four lanes
// take groups of a row that lie side by side, which is one access, and the others the rows below.
template <int LANES>
__device__ __forceinline__ void team_window_sum(const Quads& quads, int frame, unsigned int xs, unsigned int ys,
                                                unsigned int* sum) {
  constexpr int kRows = LANES / 4;
  const WindowGroups window(xs);
  const int rows = window_end(ys) - window_begin(ys), lane = threadIdx.x % LANES, row = lane / 4;
  const uint4* const begin = quads.row(frame, window_begin(ys)) + window.first;
  sum[0] = sum[1] = sum[2] = 0;
  for (int at = lane % 4; at <= window.across; at += 4) {
    const unsigned int mask = window.mask(at);
    for (int y = row; y < rows; y += 4 * kRows) {
      uint4 quad[4];
#pragma unroll
      for (int k = 0; k < 4; ++k) quad[k] = load_if(y + k * kRows < rows, begin + (y + k * kRows) * quads.groups + at);
#pragma unroll
      for (int k = 0; k < 4; ++k) add_quad(quad[k], mask, sum);
    }
  }
  for (int c = 0; c < 3; ++c)
    for (int step = LANES / 2; step > 0; step /= 2) sum[c] += __shfl_xor_sync(0xffffffffu, sum[c], step);
}

}  // namespace fastface
