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

// Refines and squares the box of item i, writes it to box_out [capacity, 4], and gives each of the SIZE * SIZE pixels that
// are in it, scaled for MTCNN, to store(number, R G B); zeros where the box has none. Ends with a barrier.
template <int SIZE, class Store>
__device__ void load_candidate(const Quads& quads, int width, const Kept& kept, int i, const float* box,
                               const float* offsets, bool inclusive, float* box_out, Store store) {
  const int item = kept.item[i], frame = kept.frame[i];
  float moved[4], squared[4];
  int rect[4];
  refine(box + 4ll * item, offsets + 4ll * item, inclusive, moved);
  square(moved, squared);
  const bool seen = pixel_rect(squared, width, quads.height, rect);
  if (threadIdx.x < 4) box_out[4ll * i + threadIdx.x] = squared[threadIdx.x];
  const int w = rect[2] - rect[0], h = rect[3] - rect[1];
  for (int p = threadIdx.x; p < SIZE * SIZE; p += blockDim.x) {
    float pixel[3] = {127.5f, 127.5f, 127.5f};
    if (seen) {
      const int oy = p / SIZE, ox = p % SIZE;
      const unsigned int xs = (rect[0] + area_begin(ox, w, SIZE)) | (rect[0] + area_end(ox, w, SIZE)) << 16;
      const unsigned int ys = (rect[1] + area_begin(oy, h, SIZE)) | (rect[1] + area_end(oy, h, SIZE)) << 16;
      unsigned int sum[3];
      window_sum(quads, frame, xs, ys, sum);
      window_mean(xs, ys, sum, pixel);
    }
    for (int c = 0; c < 3; ++c) pixel[c] = mtcnn_scale(pixel[c]);
    store(p, pixel);
  }
  __syncthreads();
}

}  // namespace fastface
