// RGB in groups of four pixels to every level of the image pyramid by area resampling, one launch for all levels and frames.
//
// Compiled with OUT: __half writes [height, stride, 4] a frame for the scan (the fourth channel is zero), float
// [height, stride, 3]. Levels that have a place there go to the float32 canvas `exact` [height, stride, 3] as well, unless it
// is null.
#include <cuda_fp16.h>

#include "levels.cuh"

#ifndef OUT
#define OUT float
#endif

namespace fastface {

constexpr int kTileX = 32, kTileY = 8;

__device__ __forceinline__ void store_pixel(__half* out, long long pixel, const float* v) {
  const __half2 rg = __floats2half2_rn(v[0], v[1]), b0 = __floats2half2_rn(v[2], 0.0f);
  uint2 both;
  both.x = *reinterpret_cast<const unsigned int*>(&rg);
  both.y = *reinterpret_cast<const unsigned int*>(&b0);
  reinterpret_cast<uint2*>(out)[pixel] = both;
}
__device__ __forceinline__ void store_pixel(float* out, long long pixel, const float* v) {
  for (int c = 0; c < 3; ++c) out[3 * pixel + c] = v[c];
}

// grid.y is the frame; a block of 256 threads computes 32 x 8 pixels, or 32 pixels of a level whose windows are wide.
// scaled != 0 scales for MTCNN, else values stay in [0, 255].
extern "C" __global__ void __launch_bounds__(256) pyramid(const uint4* data, int frame_height, int groups,
                                                          const Level* levels, int count, const unsigned int* windows,
                                                          int scaled, OUT* out, float* exact) {
  const Quads quads{data, frame_height, groups};
  const int frame = blockIdx.y;
  int l = 0;
  while (l + 1 < count && static_cast<int>(blockIdx.x) >= levels[l + 1].pyramid_block) ++l;
  const Level level = levels[l];
  const int block = blockIdx.x - level.pyramid_block;
  int x, y;
  bool mine = true;
  if (level.wide) {
    // Teams beyond the last pixel compute it as well: a warp must stay together.
    const int pixel = min(block * 32 + static_cast<int>(threadIdx.x >> 3), level.height * level.stride - 1);
    y = pixel / level.stride;
    x = pixel % level.stride;
    mine = (threadIdx.x & 7) == 0;
  } else {
    const int tiles = (level.stride + kTileX - 1) / kTileX;
    y = block / tiles * kTileY + (threadIdx.x >> 5);
    x = block % tiles * kTileX + (threadIdx.x & 31);
  }
  if (y >= level.height || x >= level.stride) return;
  const unsigned int xs = windows[level.x_windows + min(x, level.width - 1)], ys = windows[level.y_windows + y];
  unsigned int sum[3];
  if (level.wide)
    team_window_sum(quads, frame, xs, ys, sum);
  else
    window_sum(quads, frame, xs, ys, 0, 1, sum);
  if (!mine) return;
  float value[3] = {0.0f, 0.0f, 0.0f};
  if (x < level.width) {
    window_mean(xs, ys, sum, value);
    if (scaled)
      for (int c = 0; c < 3; ++c) value[c] = mtcnn_scale(value[c]);
  }
  const long long size = static_cast<long long>(level.height) * level.stride;
  const long long pixel = static_cast<long long>(y) * level.stride + x;
  store_pixel(out, level.offset + frame * size + pixel, value);
  if (exact && level.exact >= 0) store_pixel(exact, level.exact + frame * size + pixel, value);
}

// Thumbnails [n, 3, height, width] uint8, rounded; 8 threads a pixel. windows: those of the columns, then of the rows.
extern "C" __global__ void thumbnails(const uint4* data, int frame_height, int groups, int height, int width,
                                      const unsigned int* windows, unsigned char* out) {
  const Quads quads{data, frame_height, groups};
  const int frame = blockIdx.y, thread = blockIdx.x * blockDim.x + threadIdx.x, size = height * width;
  const int pixel = min(thread >> 3, size - 1);
  const unsigned int xs = windows[pixel % width], ys = windows[width + pixel / width];
  unsigned int sum[3];
  float mean[3];
  team_window_sum(quads, frame, xs, ys, sum);
  window_mean(xs, ys, sum, mean);
  const int c = threadIdx.x & 7;
  if (c < 3 && (thread >> 3) < size)
    out[(static_cast<long long>(frame) * 3 + c) * size + pixel] =
        static_cast<unsigned char>(rintf(c == 0 ? mean[0] : c == 1 ? mean[1] : mean[2]));
}

}  // namespace fastface
