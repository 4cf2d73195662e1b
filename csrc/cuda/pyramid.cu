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
constexpr int kGroups = 113;  // of four pixels of the frame that a region's windows reach over, at most

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

// Where a level's pixels go: of a frame, to the canvas and, unless it is null, to the float32 canvas.
struct Target {
  OUT* out;
  float* exact;
  int width, stride, scaled;
  __device__ __forceinline__ Target(const Level& level, OUT* out, float* exact, int frame, int place, int scaled)
      : width(level.width), stride(level.stride), scaled(scaled) {
    const long long size = static_cast<long long>(level.height) * level.stride;
    this->out = out + (sizeof(OUT) == 2 ? 4 : 3) * (level.offset + place * size);
    this->exact = exact && level.exact >= 0 ? exact + 3 * (level.exact + frame * size) : nullptr;
  }
  // The pixel whose windows of a column and a row, xs and ys, have these sums; zero beyond the level's width.
  __device__ __forceinline__ void store(int x, int y, unsigned int xs, unsigned int ys, const unsigned int* sum) const {
    float value[3];
    if (sizeof(OUT) == 2 && !exact) {  // half precision is all that is wanted
      rough_mean(xs, ys, sum, scaled, value);
    } else {
      window_mean(xs, ys, sum, value);
      if (scaled)
        for (int c = 0; c < 3; ++c) value[c] = mtcnn_scale(value[c]);
    }
    for (int c = 0; c < 3; ++c) value[c] = x < width ? value[c] : 0.0f;
    store_pixel(out, y * stride + x, value);
    if (exact) store_pixel(exact, y * stride + x, value);
  }
};

// grid.y is the frame, from number first_frame of quads and `exact` on. A block of 256 threads computes 32 pixels of a
// level whose windows are wide, or, from block first_region on, what a region of the frame gives of all other levels, the
// first `regional`: the pixels whose windows begin there. So the frame comes from afar once, and not once a level.
// windows[level.x_regions + i] is a level's first column in column i of `regions_across` regions, and likewise for rows. A
// warp computes a row of pixels at a time: first sums down its windows' rows, each column once, then sums across.
// scaled != 0 scales for MTCNN, else values stay in [0, 255].
extern "C" __global__ void __launch_bounds__(256, 4)
    pyramid(const uint4* data, int frame_height, int groups, const Level* levels, int count, const unsigned int* windows,
            int regional, int first_region, int regions_across, int scaled, OUT* out, float* exact, int first_frame) {
  __shared__ uint4 columns[kWarps][2 * kGroups];
  const Quads quads{data, frame_height, groups};
  const int frame = first_frame + blockIdx.y, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
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
    if ((threadIdx.x & 7) == 0) Target(level, out, exact, frame, blockIdx.y, scaled).store(x, y, xs, ys, sum);
    return;
  }

  const int region = blockIdx.x - first_region, across = region % regions_across, down = region / regions_across;
  uint4* const sums = columns[warp];
  int done = 0;
  for (int l = regional - 1; l >= 0; --l) {
    const Level& level = levels[l];
    const int left = windows[level.x_regions + across], right = windows[level.x_regions + across + 1];
    const int top = windows[level.y_regions + down], bottom = windows[level.y_regions + down + 1];
    // Warps go on with the next level where they are: its first row is the turn of whoever has done least.
    int y = top + ((warp - done) & (kWarps - 1));
    done += bottom - top;
    if (left == right || y >= bottom) continue;
    const Target target(level, out, exact, frame, blockIdx.y, scaled);
    const unsigned int *const x_windows = windows + level.x_windows, *const y_windows = windows + level.y_windows;
    const int first = window_begin(x_windows[min(left, target.width - 1)]) >> 2;
    const int reach = ((window_end(x_windows[min(right, target.width) - 1]) - 1) >> 2) - first + 1;
    for (; y < bottom; y += kWarps) {
      const unsigned int ys = y_windows[y];
      const int rows = window_end(ys) - window_begin(ys);
      const uint4* const row = quads.row(frame, window_begin(ys)) + first;
      for (int q = lane; q < reach; q += 32) column_sums(row + q, groups, rows, sums + 2 * q);
      __syncwarp();
      for (int x = left + lane; x < right; x += 32) {
        const unsigned int xs = x_windows[min(x, target.width - 1)];
        const uint2* const from = reinterpret_cast<const uint2*>(sums) + window_begin(xs) - 4 * first;
        unsigned int sum[3];
        add_wide_columns(from, window_end(xs) - window_begin(xs), sum);
        target.store(x, y, xs, ys, sum);
      }
      __syncwarp();
    }
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
