// What R- and O-Net look at: from an item of the stage before to a square, and its pixels.
#pragma once

#include "common/geometry.h"
#include "levels.cuh"

namespace fastface {

// Items of a stage that were kept: item i is number kept[i] of the stage before, of frame kept_frame[i].
struct Kept {
  const int* item;
  const int* frame;
};

// The number of the first of `some` items that no block has begun with, for all threads of a block. *begun is zero at
// first. Ends with a barrier, and another must follow before it is called again.
__device__ __forceinline__ int begin_with(int* begun, int some) {
  __shared__ int first;
  if (threadIdx.x == 0) first = atomicAdd(begun, some);
  __syncthreads();
  return first;
}

// The window of output i of SIZE over `size` pixels from `from` on: common/area.h in 32 bits, which hold a frame's side
// times SIZE.
template <int SIZE>
__device__ __forceinline__ unsigned int crop_window(int from, int size, int i) {
  const unsigned int begin = static_cast<unsigned int>(i * size), last = SIZE - 1;
  return (from + begin / SIZE) | (from + (begin + size + last) / SIZE) << 16;
}

// Refines and squares the box of item i, writes it to box_out [capacity, 4], and gives each of the SIZE * SIZE pixels that
// are in it, scaled for MTCNN, to store(number, R G B); zeros where the box has none. Ends with a barrier; before it
// `spare`, BYTES of shared memory, is written.
template <int SIZE, int BYTES, class Store>
__device__ void load_candidate(const Quads& quads, int width, const Kept& kept, int i, const float* box,
                               const float* offsets, bool inclusive, float* box_out, unsigned char* spare, Store store) {
  const int item = kept.item[i], frame = kept.frame[i];
  float moved[4], squared[4];
  int rect[4];
  refine(box + 4ll * item, offsets + 4ll * item, inclusive, moved);
  square(moved, squared);
  const bool seen = pixel_rect(squared, width, quads.height, rect);
  if (threadIdx.x < 4) box_out[4ll * i + threadIdx.x] = squared[threadIdx.x];
  const int w = rect[2] - rect[0], h = rect[3] - rect[1], first = rect[0] >> 2;
  const int reach = seen ? ((rect[2] - 1) >> 2) - first + 1 : 1;  // groups of four pixels of a row
  // Sums down each column first, of as many rows of windows as have room, where they fit into 16 bits.
  constexpr int kItems = BYTES / 32, kReach = 64;
  static_assert(kItems * (kReach - 1) < 65536 && kReach <= kItems, "what Columns allows");
  const bool apart = seen && reach <= kReach && (w / SIZE + 2) * (h / SIZE + 2) < 258;
  const int rows = apart ? min(SIZE, kItems / reach) : SIZE;
  const Columns columns{reinterpret_cast<uint4*>(spare), first, reach};
  for (int top = 0; top < SIZE; top += rows) {
    const int some = min(rows, SIZE - top);
    if (apart) {
      columns.add(quads, frame, some, threadIdx.x, blockDim.x,
                  [&](int row) { return crop_window<SIZE>(rect[1], h, top + row); });
      __syncthreads();
    }
    for (int p = threadIdx.x; p < some * SIZE; p += blockDim.x) {
      float pixel[3] = {127.5f, 127.5f, 127.5f};
      if (seen) {
        const int row = p / SIZE;
        const unsigned int xs = crop_window<SIZE>(rect[0], w, p % SIZE), ys = crop_window<SIZE>(rect[1], h, top + row);
        unsigned int sum[3];
        if (apart)
          columns.window_sum(row, xs, sum);
        else
          window_sum(quads, frame, xs, ys, sum);
        window_mean(xs, ys, sum, pixel);
      }
      for (int c = 0; c < 3; ++c) pixel[c] = mtcnn_scale(pixel[c]);
      store(top * SIZE + p, pixel);
    }
    __syncthreads();
  }
}

}  // namespace fastface
