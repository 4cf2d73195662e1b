// P-Net to float32's precision (split.cuh) for single cells: the scores and offsets that decide. A warp does kCells cells,
// one after the other up to conv2, and the rest of all at once.
#include "levels.cuh"
#include "split.cuh"

namespace fastface {

// The weights as lanes hold them; fastface/detect/cuda/weights.py packs the same struct.
struct CellWeights {
  uint4 first[2][3][32];   // conv1, channels 0-7, of the left and the right pixel of a pool: [dx][ky]
  uint4 rest[4][32];       // conv1, channels 8 and 9 of all four pixels of a pool: [input row]
  uint4 second[9][2][32];  // conv2: [ky * 3 + kx][8 channels], of 10 inputs and zeros
  uint4 third[9][4][32];   // conv3, likewise
  float unscale[4];        // of each layer's sums
  float bias1[10], slope1[10], bias2[16], slope2[16], bias3[32], slope3[32];
  float head[6][32], head_bias[6], unused[2];  // the two logits and the four offsets
};

constexpr int kWarps = 3, kThreads = 32 * kWarps, kCells = 8;
constexpr int kSide = 12, kRow = kSide * 16;  // pixels of a patch, bytes from one of its rows to the next
constexpr int kReach = 14;                    // groups of four pixels that a patch reaches over, where columns are added up
constexpr int kCellBytes = 9 * 64 + 16;       // of conv2's output of a cell, so that eight cells lie in different banks
// Bytes of a warp: the patch; the sums of columns, whose place the pooled pixels take; conv2's output.
constexpr int kSums = kCropBytes<kSide>, kMiddle = kSums + kSide * kReach * 32, kWarpBytes = kMiddle + kCells * kCellBytes;
static_assert(25 * 64 <= kMiddle - kSums && kWarps * kWarpBytes == 37248, "what fastface/detect/cuda asks for");

// Where chunk `chunk` of a pooled pixel is: 16 channels' high parts, then the low ones at low_part<64> of that.
__device__ __forceinline__ int pooled_at(int pixel, int chunk) { return pixel * 64 + ((chunk ^ (pixel >> 1 & 3)) << 4); }

// The patch of a cell from the frame's pixels, where the level is not at hand; zeros beyond the level.
__device__ void sample_patch(const Quads& quads, int frame, const Level& level, const unsigned int* windows, int left,
                             int top, unsigned char* memory) {
  const int lane = threadIdx.x & 31, right = min(left + kSide, level.width), bottom = min(top + kSide, level.height);
  const unsigned int *const across = windows + level.x_windows, *const down = windows + level.y_windows;
  const int first = window_begin(across[left]) >> 2;
  const int reach = ((window_end(across[right - 1]) - 1) >> 2) - first + 1;
  const Columns columns{reinterpret_cast<uint4*>(memory + kSums), first, reach};
  const bool apart = reach <= kReach;
  if (apart) columns.add(quads, frame, bottom - top, lane, 32, [&](int row) { return down[top + row]; });
  __syncwarp();
  for (int p = lane; p < kSide * kSide; p += 32) {
    const int row = p / kSide, x = left + p % kSide, y = top + row;
    float value[3] = {0.0f, 0.0f, 0.0f};
    if (x < right && y < bottom) {
      const unsigned int xs = across[x], ys = down[y];
      unsigned int sum[3];
      if (apart)
        columns.window_sum(row, xs, sum);
      else
        window_sum(quads, frame, xs, ys, sum);
      window_mean(xs, ys, sum, value);
      for (int c = 0; c < 3; ++c) value[c] = mtcnn_scale(value[c]);
    }
    put_crop<kSide>(memory, p, value);
  }
}

// The same from the level, of three floats a pixel.
__device__ void copy_patch(const float* image, const Level& level, int left, int top, unsigned char* memory) {
  for (int p = threadIdx.x & 31; p < kSide * kSide; p += 32) {
    const int x = left + p % kSide, y = top + p / kSide;
    float value[3] = {0.0f, 0.0f, 0.0f};
    if (x < level.width && y < level.height) {
      const float* const from = image + 3 * (static_cast<long long>(y) * level.stride + x);
      for (int c = 0; c < 3; ++c) value[c] = from[c];
    }
    put_crop<kSide>(memory, p, value);
  }
}

// conv1 and its pooling to 5 x 5 pixels. A tile is 16 of them, whose inputs are four pixels of four rows each. wide, high:
// how many columns and rows of conv1 the level has from the cell on; a window of its end may be narrower.
__device__ __forceinline__ void first_layer(unsigned char* memory, const CellWeights* w, int wide, int high) {
  const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  uint4 first[2][3], rest[4];
#pragma unroll
  for (int k = 0; k < 6; ++k) first[k / 3][k % 3] = __ldg(&w->first[k / 3][k % 3][lane]);
#pragma unroll
  for (int r = 0; r < 4; ++r) rest[r] = __ldg(&w->rest[r][lane]);
  const float2 bias = __ldg(reinterpret_cast<const float2*>(w->bias1) + t),
               slope = __ldg(reinterpret_cast<const float2*>(w->slope1) + t);
  const float2 bias_rest = __ldg(reinterpret_cast<const float2*>(w->bias1) + 4),
               slope_rest = __ldg(reinterpret_cast<const float2*>(w->slope1) + 4);
  const float unscale = __ldg(w->unscale);
#pragma unroll 1
  for (int tile = 0; tile < 2; ++tile) {
    const int from = min(16 * tile + (lane & 15), 24);
    const unsigned int address = shared_address(memory) + from / 5 * 2 * kRow + from % 5 * 16 + (lane >> 4) * 16;
    float sum[2][2][4] = {}, tail[4] = {};  // [dy][dx]; of channels 8 and 9 thread t has pixel (t / 2, t % 2) of a pool
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      Inputs in;
      in.load<kSide>(address + r * kRow);
#pragma unroll
      for (int dy = 0; dy < 2; ++dy)
        if (r - dy >= 0 && r - dy < 3)
#pragma unroll
          for (int dx = 0; dx < 2; ++dx) multiply(sum[dy][dx], in.high, in.low, first[dx][r - dy]);
      multiply(tail, in.high, in.low, rest[r]);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int q = 16 * tile + g + 8 * half;
      const bool right = 2 * (q % 5) + 1 < wide, below = 2 * (q / 5) + 1 < high;
      const auto of = [&](const float* v, float2 b, float2 s) { return activate(v[0], v[1], unscale, b, s); };
      float2 best = of(sum[0][0] + 2 * half, bias, slope);
      if (right) best = max2(best, of(sum[0][1] + 2 * half, bias, slope));
      if (below) best = max2(best, of(sum[1][0] + 2 * half, bias, slope));
      if (right && below) best = max2(best, of(sum[1][1] + 2 * half, bias, slope));
      // The first pixel of a pool always takes part.
      const float2 mine = of(tail + 2 * half, bias_rest, slope_rest);
      float2 both = (t < 2 || below) && ((t & 1) == 0 || right) ? mine : make_float2(-1e30f, -1e30f);
#pragma unroll
      for (int step = 1; step < 4; step *= 2)
        both =
            max2(both, make_float2(__shfl_xor_sync(0xffffffffu, both.x, step), __shfl_xor_sync(0xffffffffu, both.y, step)));
      if (q < 25) {
        unsigned char* const to = memory + kSums + pooled_at(q, 0) + 4 * t;
        split(best.x, best.y, to, memory + kSums + low_part<64>(pooled_at(q, 0)) + 4 * t);
        if (t == half) {  // with the zeros that follow
          unsigned char* const high_to = memory + kSums + pooled_at(q, 1);
          unsigned char* const low_to = memory + kSums + low_part<64>(pooled_at(q, 1));
          *reinterpret_cast<uint4*>(high_to) = *reinterpret_cast<uint4*>(low_to) = make_uint4(0, 0, 0, 0);
          split(both.x, both.y, high_to, low_to);
        }
      }
    }
  }
}

// conv2 of a cell, 3 x 3 pixels of the pooled 5 x 5, to `out`: [pixel][16 channels' high parts, then the low ones].
__device__ __forceinline__ void second_layer(const unsigned char* pooled, const CellWeights* w, unsigned char* out) {
  const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  const int at = min(lane & 15, 8), first = at / 3 * 5 + at % 3;
  const unsigned int in = shared_address(pooled);
  float sum[2][4] = {};
#pragma unroll
  for (int k = 0; k < 9; ++k) {
    const int from = pooled_at(first + k / 3 * 5 + k % 3, lane >> 4);
    unsigned int high[4], low[4];
    load_matrix(high, in + from);
    load_matrix(low, in + low_part<64>(from));
#pragma unroll
    for (int j = 0; j < 2; ++j) multiply(sum[j], high, low, __ldg(&w->second[k][j][lane]));
  }
  const float unscale = __ldg(w->unscale + 1);
#pragma unroll
  for (int j = 0; j < 2; ++j)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int q = g + 8 * half;
      const float2 v = activate(sum[j][2 * half], sum[j][2 * half + 1], unscale, w->bias2, w->slope2, 8 * j + 2 * t);
      unsigned char* const to = out + q * 64 + 16 * j + 4 * t;
      if (q < 9) split(v.x, v.y, to, to + 32);
    }
}

// conv3 and the heads, of kCells cells; lanes 4 c to 4 c + 3 have those of cell c.
__device__ __forceinline__ void last_layers(const unsigned char* middle, const CellWeights* w, float (&out)[6]) {
  const int lane = threadIdx.x & 31, t = lane & 3;
  const unsigned int in = shared_address(middle) + (lane & (kCells - 1)) * kCellBytes + (lane >> 4) * 16;
  float sum[4][4] = {};  // rows 8 to 15 of the tile are the same cells again
#pragma unroll 3
  for (int k = 0; k < 9; ++k) {
    unsigned int high[4], low[4];
    load_matrix(high, in + 64 * k);
    load_matrix(low, in + 64 * k + 32);
#pragma unroll
    for (int j = 0; j < 4; ++j) multiply(sum[j], high, low, __ldg(&w->third[k][j][lane]));
  }
  const float unscale = __ldg(w->unscale + 2);
  for (int h = 0; h < 6; ++h) out[h] = 0.0f;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int c = 8 * j + 2 * t;
    const float2 v = activate(sum[j][0], sum[j][1], unscale, w->bias3, w->slope3, c);
#pragma unroll
    for (int h = 0; h < 6; ++h) {
      const float2 head = __ldg(reinterpret_cast<const float2*>(w->head[h] + c));
      out[h] = fmaf(v.x, head.x, fmaf(v.y, head.y, out[h]));
    }
  }
#pragma unroll
  for (int h = 0; h < 6; ++h) {
    for (int step = 1; step < 4; step *= 2) out[h] += __shfl_xor_sync(0xffffffffu, out[h], step);
    out[h] += __ldg(w->head_bias + h);
  }
}

// Group frame * levels + level holds count[group] cells, tie[group * capacity + i] = level << 26 | cell. Of each: box in
// whole pixels as facenet-pytorch computes it, score (0 under the threshold) and offsets. full is set to 1 where a group
// has more cells than its capacity. grid.y is the group.
extern "C" __global__ void __launch_bounds__(kThreads, 6)
    cells(const uint4* data, int frame_height, int groups, const float* exact, const Level* levels, int level_count,
          const unsigned int* windows, const CellWeights* weights, float threshold, int capacity, const unsigned int* tie,
          const int* count, float* box, float* score, float* offsets, int* full) {
  extern __shared__ __align__(16) unsigned char shared[];
  const int group = blockIdx.y, frame = group / level_count, items = min(count[group], capacity);
  if (blockIdx.x == 0 && threadIdx.x == 0 && count[group] > capacity) *full = 1;
  if (static_cast<int>(blockIdx.x) * kWarps * kCells >= items) return;
  const Quads quads{data, frame_height, groups};
  const Level level = levels[group % level_count];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  unsigned char* const memory = shared + warp * kWarpBytes;
  const float* const image = exact + 3 * (level.exact + static_cast<long long>(frame) * level.height * level.stride);
  const unsigned int* const mine = tie + static_cast<long long>(group) * capacity;
  const auto cell_of = [&](int i, int& x, int& y) {
    const int cell = static_cast<int>(mine[i] & ((1u << 26) - 1));
    x = cell % level.columns;
    y = cell / level.columns;
  };

  for (int first = (blockIdx.x * kWarps + warp) * kCells; first < items; first += gridDim.x * kWarps * kCells) {
    const int some = min(kCells, items - first);
    for (int i = 0; i < some; ++i) {
      int x, y;
      cell_of(first + i, x, y);
      if (level.exact < 0)
        sample_patch(quads, frame, level, windows, 2 * x, 2 * y, memory);
      else
        copy_patch(image, level, 2 * x, 2 * y, memory);
      __syncwarp();
      // ceil_mode: the last window of a level of odd size holds one column (row) only.
      first_layer(memory, weights, level.width - 2 - 2 * x, level.height - 2 - 2 * y);
      __syncwarp();
      second_layer(memory + kSums, weights, memory + kMiddle + i * kCellBytes);
      __syncwarp();
    }
    float out[6];
    last_layers(memory + kMiddle, weights, out);
    if ((lane & 3) == 0 && lane / 4 < some) {
      int cx, cy;
      cell_of(first + lane / 4, cx, cy);
      const long long at = static_cast<long long>(group) * capacity + first + lane / 4;
      const float p = 1.0f / (1.0f + expf(out[0] - out[1]));
      const float x = static_cast<float>(cx), y = static_cast<float>(cy);
      // Divided, not multiplied by the inverse: another rounding would floor to other pixels.
      box[4 * at] = floorf(__fdiv_rn(2.0f * x + 1.0f, level.scale));
      box[4 * at + 1] = floorf(__fdiv_rn(2.0f * y + 1.0f, level.scale));
      box[4 * at + 2] = floorf(__fdiv_rn(2.0f * x + 12.0f, level.scale));
      box[4 * at + 3] = floorf(__fdiv_rn(2.0f * y + 12.0f, level.scale));
      score[at] = p >= threshold ? p : 0.0f;
      for (int c = 0; c < 4; ++c) offsets[4 * at + c] = out[2 + c];
    }
    __syncwarp();
  }
}

}  // namespace fastface
