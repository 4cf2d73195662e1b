// RGB in groups of four pixels to every level of the image pyramid by area resampling, one launch for all levels and
// frames.
//
// Compiled with OUT: __half writes [height, stride, 4] a frame for the scan (the fourth channel is zero), float
// [height, stride, 3]. Levels that have a place there go to the float32 canvas `exact` [height, stride, 3] as well, unless
// it is null.
#include <cuda_fp16.h>

#include "levels.cuh"

#ifndef OUT
#define OUT float
#endif

namespace fastface {

constexpr int kWarps = 8, kTileY = 32, kTileX = 64;  // a tile is as wide as its level says, at most 64 pixels
constexpr int kGroups = 98;                          // of four pixels of the frame that a tile reaches over, at most

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

// One over the pixels of a window's side.
__device__ __forceinline__ float inverse_side(unsigned int window) {
  return __frcp_rn(static_cast<float>(window_end(window) - window_begin(window)));
}

// A pixel's value from the sums over its window, where half precision is all that is wanted.
__device__ __forceinline__ void rough_value(const unsigned int* sum, float inverse_area, bool scaled, float* value) {
  const float factor = scaled ? inverse_area * 0.0078125f : inverse_area, offset = scaled ? -127.5f * 0.0078125f : 0.0f;
  for (int c = 0; c < 3; ++c) value[c] = fmaf(static_cast<float>(sum[c]), factor, offset);
}

__device__ __forceinline__ void exact_value(unsigned int xs, unsigned int ys, const unsigned int* sum, bool scaled,
                                            float* value) {
  window_mean(xs, ys, sum, value);
  if (scaled)
    for (int c = 0; c < 3; ++c) value[c] = mtcnn_scale(value[c]);
}

// grid.y is the frame, from number first_frame of quads and `exact` on; a block of 256 threads computes a tile of 32 rows,
// or 32 pixels of a level whose windows are wide. Of a tile a warp computes a row at a time: first sums down its windows'
// rows, each column once, then sums across.
// scaled != 0 scales for MTCNN, else values stay in [0, 255].
extern "C" __global__ void __launch_bounds__(256, 4)
    pyramid(const uint4* data, int frame_height, int groups, const Level* levels, int count, const unsigned int* windows,
            int scaled, OUT* out, float* exact, int first_frame) {
  __shared__ uint4 columns[kWarps][2 * kGroups];
  const Quads quads{data, frame_height, groups};
  const int frame = first_frame + blockIdx.y;
  const Level& level = levels[level_of<&Level::pyramid_block>(levels, count, blockIdx.x)];
  const int block = blockIdx.x - level.pyramid_block, height = level.height, width = level.width, stride = level.stride;
  const long long begin = level.offset + static_cast<long long>(blockIdx.y) * height * stride;
  const bool keep = exact && level.exact >= 0, rough = sizeof(OUT) == 2 && !keep;
  const long long begin_exact = level.exact + static_cast<long long>(frame) * height * stride;
  unsigned int sum[3];
  float value[3];
  if (level.wide) {
    // Teams beyond the last pixel compute it as well: a warp must stay together.
    const int pixel = min(block * 32 + static_cast<int>(threadIdx.x >> 3), height * stride - 1);
    const int y = pixel / stride, x = pixel % stride;
    const unsigned int xs = windows[level.x_windows + min(x, width - 1)], ys = windows[level.y_windows + y];
    team_window_sum<8>(quads, frame, xs, ys, sum);
    if (threadIdx.x & 7) return;
    if (rough)
      rough_value(sum, inverse_side(xs) * inverse_side(ys), scaled, value);
    else
      exact_value(xs, ys, sum, scaled, value);
    for (int c = 0; c < 3; ++c) value[c] = x < width ? value[c] : 0.0f;
    store_pixel(out, begin + pixel, value);
    if (keep) store_pixel(exact, begin_exact + pixel, value);
    return;
  }
  const int tiles = (stride + level.across - 1) / level.across, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int left = block % tiles * level.across, top = block / tiles * kTileY, right = min(left + level.across, stride);
  const unsigned int* const across = windows + level.x_windows;
  const int first = window_begin(across[left]) >> 2;
  const int reach = ((window_end(across[min(right, width) - 1]) - 1) >> 2) - first + 1;
  unsigned int mine[kTileX / 32];
  float inverse[kTileX / 32];
#pragma unroll
  for (int k = 0; k < kTileX / 32; ++k) {
    mine[k] = across[min(left + 32 * k + lane, width - 1)];
    inverse[k] = inverse_side(mine[k]);
  }
  const int widest = level.across > 32 ? 8 : level.across > 16 ? 14 : 26;  // what a window may have from left to right
  uint4* const sums = columns[warp];
  for (int y = top + warp; y < min(top + kTileY, height); y += kWarps) {
    const unsigned int ys = windows[level.y_windows + y];
    const uint4* const row = quads.row(frame, window_begin(ys)) + first;
    for (int q = lane; q < reach; q += 32) column_sums(row + q, groups, window_end(ys) - window_begin(ys), sums + 2 * q);
    __syncwarp();
    const float inverse_y = inverse_side(ys);
    const bool many = (window_end(ys) - window_begin(ys)) * widest > 257;
#pragma unroll
    for (int k = 0; k < kTileX / 32; ++k) {
      const int x = left + 32 * k + lane;
      if (x >= right) continue;
      const uint2* const from = reinterpret_cast<const uint2*>(sums) + window_begin(mine[k]) - 4 * first;
      const int count = window_end(mine[k]) - window_begin(mine[k]);
      if (many)
        add_wide_columns(from, count, sum);
      else
        add_columns(from, count, sum);
      if (rough)
        rough_value(sum, inverse[k] * inverse_y, scaled, value);
      else
        exact_value(mine[k], ys, sum, scaled, value);
      for (int c = 0; c < 3; ++c) value[c] = x < width ? value[c] : 0.0f;
      const int pixel = y * stride + x;
      store_pixel(out, begin + pixel, value);
      if (keep) store_pixel(exact, begin_exact + pixel, value);
    }
    __syncwarp();
  }
}

// Thumbnails [n, 3, height, width] uint8, rounded; a warp a pixel. windows: those of the columns, then of the rows.
extern "C" __global__ void thumbnails(const uint4* data, int frame_height, int groups, int height, int width,
                                      const unsigned int* windows, unsigned char* out) {
  const Quads quads{data, frame_height, groups};
  const int frame = blockIdx.y, size = height * width, pixel = (blockIdx.x * blockDim.x + threadIdx.x) >> 5;
  if (pixel >= size) return;
  const unsigned int xs = windows[pixel % width], ys = windows[width + pixel / width];
  unsigned int sum[3];
  float mean[3];
  team_window_sum<32>(quads, frame, xs, ys, sum);
  window_mean(xs, ys, sum, mean);
  const int c = threadIdx.x & 31;
  if (c < 3)
    out[(static_cast<long long>(frame) * 3 + c) * size + pixel] = static_cast<unsigned char>(rintf(c == 0   ? mean[0]
                                                                                                   : c == 1 ? mean[1]
                                                                                                            : mean[2]));
}

}  // namespace fastface
