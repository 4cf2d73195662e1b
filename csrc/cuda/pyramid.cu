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

constexpr int kWarps = 8;
constexpr int kPixels = 64;  // of a level that lie side by side in a region, at most
constexpr int kGroups = 34;  // of four pixels of the frame that they reach over, at most

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

// grid.y is the frame, from number first_frame of quads and `exact` on. A block of 256 threads computes 32 pixels of a
// level whose windows are wide, or, from block first_region on, what lies in a region of the frame of all other levels, so
// that the frame is fetched once and not once a level: those pixels whose windows begin there. Regions are region_width x
// kRegionHeight pixels, `regions_across` in a row; windows[level.x_regions + i] is the first column of region i, and
// likewise for rows. A warp computes a row at a time: first sums down its windows' rows, each column once, then sums
// across. scaled != 0 scales for MTCNN, else values stay in [0, 255].
extern "C" __global__ void __launch_bounds__(256, 4)
    pyramid(const uint4* data, int frame_height, int groups, const Level* levels, int count, const unsigned int* windows,
            int regional, int first_region, int regions_across, int scaled, OUT* out, float* exact, int first_frame) {
  __shared__ uint4 columns[kWarps][2 * kGroups];
  const Quads quads{data, frame_height, groups};
  const int frame = first_frame + blockIdx.y, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  // Windows of a column and a row have these sums; one over the pixels of the window is `inverse`.
  const auto store = [&](const Level& level, int x, int y, unsigned int xs, unsigned int ys, const unsigned int* sum,
                         float inverse) {
    const bool keep = exact && level.exact >= 0;
    float value[3];
    if (sizeof(OUT) == 2 && !keep)
      rough_value(sum, inverse, scaled, value);
    else
      exact_value(xs, ys, sum, scaled, value);
    for (int c = 0; c < 3; ++c) value[c] = x < level.width ? value[c] : 0.0f;
    const long long pixel = static_cast<long long>(y) * level.stride + x, size = level.height * level.stride;
    store_pixel(out, level.offset + blockIdx.y * size + pixel, value);
    if (keep) store_pixel(exact, level.exact + frame * size + pixel, value);
  };

  if (static_cast<int>(blockIdx.x) < first_region) {
    const Level& level =
        levels[regional + level_of<&Level::pyramid_block>(levels + regional, count - regional, blockIdx.x)];
    // Teams beyond the last pixel compute it as well: a warp must stay together.
    const int block = blockIdx.x - level.pyramid_block;
    const int pixel = min(block * 32 + static_cast<int>(threadIdx.x >> 3), level.height * level.stride - 1);
    const int y = pixel / level.stride, x = pixel % level.stride;
    const unsigned int xs = windows[level.x_windows + min(x, level.width - 1)], ys = windows[level.y_windows + y];
    unsigned int sum[3];
    team_window_sum<8>(quads, frame, xs, ys, sum);
    if ((threadIdx.x & 7) == 0) store(level, x, y, xs, ys, sum, inverse_side(xs) * inverse_side(ys));
    return;
  }

  const int region = blockIdx.x - first_region, across = region % regions_across, down = region / regions_across;
  uint4* const sums = columns[warp];
  int done = 0;
  for (int l = regional - 1; l >= 0; --l) {
    const Level& level = levels[l];
    const unsigned int* const x_windows = windows + level.x_windows;
    const int left = windows[level.x_regions + across], right = windows[level.x_regions + across + 1];
    const int top = windows[level.y_regions + down], bottom = windows[level.y_regions + down + 1];
    if (left == right) continue;
    const int first = window_begin(x_windows[min(left, level.width - 1)]) >> 2;
    const int reach = ((window_end(x_windows[min(right, level.width) - 1]) - 1) >> 2) - first + 1;
    unsigned int mine[kPixels / 32];
    float inverse[kPixels / 32];
#pragma unroll
    for (int k = 0; k < kPixels / 32; ++k) {
      mine[k] = x_windows[min(left + 32 * k + lane, level.width - 1)];
      inverse[k] = inverse_side(mine[k]);
    }
    // Warps go on with the next level where they are: the first row is the turn of whoever has done least.
    for (int y = top + ((warp - done) & (kWarps - 1)); y < bottom; y += kWarps) {
      const unsigned int ys = windows[level.y_windows + y];
      const int rows = window_end(ys) - window_begin(ys);
      const uint4* const row = quads.row(frame, window_begin(ys)) + first;
      for (int q = lane; q < reach; q += 32) column_sums(row + q, groups, rows, sums + 2 * q);
      __syncwarp();
      const float inverse_y = inverse_side(ys);
#pragma unroll
      for (int k = 0; k < kPixels / 32; ++k) {
        const int x = left + 32 * k + lane;
        if (x >= right) continue;
        const uint2* const from = reinterpret_cast<const uint2*>(sums) + window_begin(mine[k]) - 4 * first;
        const int wide = window_end(mine[k]) - window_begin(mine[k]);
        unsigned int sum[3];
        if (rows * wide > 257)
          add_wide_columns(from, wide, sum);
        else
          add_columns(from, wide, sum);
        store(level, x, y, mine[k], ys, sum, inverse[k] * inverse_y);
      }
      __syncwarp();
    }
    done += bottom - top;
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
