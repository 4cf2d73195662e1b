// The image pyramid: where its levels lie, and means over windows of the planes that it is made of.
#pragma once

#include "common/area.h"

namespace fastface {

// One level of the pyramid; fastface/detect/cuda/plan.py packs the same struct.
struct Level {
  long long offset;        // pixels of all frames before this level; its frames follow each other
  long long exact;         // the same in the float32 canvas; -1 if the level is not in it
  int height, width;       // pixels
  int stride;              // pixels from one row to the next in the canvas, even; what is beyond width is zero
  int rows, columns;       // cells that P-Net gives
  int x_windows, y_windows;  // where the windows of columns and rows begin in the table
  int pyramid_block;       // the first block that computes this level
  int scan_block, scan_columns;  // the first block of the scan, and its tiles in a row
  int wide;                // 1: windows are large, a warp computes a pixel
  float scale;             // of the level
};

// Planar RGB, one byte a sample: frame f, channel c, row y begins at data + ((f * 3 + c) * height + y) * pitch.
struct Planes {
  const unsigned char* data;
  int height, pitch;  // rows; bytes of a row, a multiple of 4
  __device__ __forceinline__ const unsigned int* row(int frame, int channel, int y) const {
    return reinterpret_cast<const unsigned int*>(data + (static_cast<long long>(frame * 3 + channel) * height + y) * pitch);
  }
};

// Windows are packed as begin | end << 16.
__device__ __forceinline__ int window_begin(unsigned int window) { return static_cast<int>(window & 0xffffu); }
__device__ __forceinline__ int window_end(unsigned int window) { return static_cast<int>(window >> 16); }

// Sums of R, G and B over a window, four samples at a time; this lane takes rows `lane_y` of `lanes_y` and words `lane_x` of
// `lanes_x`.
__device__ __forceinline__ void window_sum(const Planes& planes, int frame, unsigned int xs, unsigned int ys, int lane_x,
                                           int lanes_x, int lane_y, int lanes_y, unsigned int* sum) {
  const int x1 = window_begin(xs), x2 = window_end(xs) - 1;
  const int first = x1 >> 2, last = x2 >> 2;
  const unsigned int mask_first = 0x01010101u << (8 * (x1 & 3)), mask_last = 0x01010101u >> (8 * (3 - (x2 & 3)));
  sum[0] = sum[1] = sum[2] = 0;
  for (int y = window_begin(ys) + lane_y; y < window_end(ys); y += lanes_y) {
    const unsigned int* r = planes.row(frame, 0, y);
    const unsigned int* g = planes.row(frame, 1, y);
    const unsigned int* b = planes.row(frame, 2, y);
    for (int w = first + lane_x; w <= last; w += lanes_x) {
      unsigned int mask = 0x01010101u;
      if (w == first) mask &= mask_first;
      if (w == last) mask &= mask_last;
      sum[0] = __dp4a(r[w], mask, sum[0]);
      sum[1] = __dp4a(g[w], mask, sum[1]);
      sum[2] = __dp4a(b[w], mask, sum[2]);
    }
  }
}

// Means of R, G and B from their sums, rounded once, as on the CPU.
__device__ __forceinline__ void window_mean(unsigned int xs, unsigned int ys, const unsigned int* sum, float* mean) {
  const float area = static_cast<float>((window_end(xs) - window_begin(xs)) * (window_end(ys) - window_begin(ys)));
  for (int c = 0; c < 3; ++c) mean[c] = __fdiv_rn(static_cast<float>(sum[c]), area);
}

// All lanes of a warp receive the sums over a window that they share.
__device__ __forceinline__ void warp_window_sum(const Planes& planes, int frame, unsigned int xs, unsigned int ys,
                                                unsigned int* sum) {
  const int lane = threadIdx.x & 31;
  window_sum(planes, frame, xs, ys, lane & 7, 8, lane >> 3, 4, sum);
  for (int c = 0; c < 3; ++c)
    for (int step = 16; step > 0; step /= 2) sum[c] += __shfl_xor_sync(0xffffffffu, sum[c], step);
}

}  // namespace fastface
