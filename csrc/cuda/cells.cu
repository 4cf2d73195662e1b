// P-Net in float32 for single cells: the scores and offsets that decide. One warp a cell.
#include "activation.cuh"
#include "levels.cuh"

namespace fastface {

// fastface/detect/cuda/weights.py packs the same struct.
struct CellWeights {
  float first[10][28];   // conv1: [channel][colour * 9 + ky * 3 + kx], and one that is not used
  float second[90][16];  // conv2: [input * 9 + ky * 3 + kx][channel]
  float third[144][32];  // conv3, likewise
  float head[6][32];     // the two logits and the four offsets
  float bias1[10], slope1[10], bias2[16], slope2[16], bias3[32], slope3[32], head_bias[6], unused[2];
};

constexpr int kWarps = 8, kRows = 4, kReach = 14;  // rows of a patch at a time, groups of four pixels that they reach over
struct CellMemory {
  float patch[3][12][12];
  float pooled[10][28];  // 25 of them
  float middle[16][12];  // 9 of them
};
static_assert(kRows * kReach * 32 <= sizeof(CellMemory) - sizeof(CellMemory::patch), "sums of columns lie there as well");
static_assert(sizeof(CellWeights) + kWarps * sizeof(CellMemory) == 55504, "what fastface/detect/cuda asks for");

template <int N>
__device__ __forceinline__ void load_floats(const float* from, float (&to)[4 * N]) {
#pragma unroll
  for (int k = 0; k < N; ++k) {
    const float4 v = reinterpret_cast<const float4*>(from)[k];
    to[4 * k] = v.x;
    to[4 * k + 1] = v.y;
    to[4 * k + 2] = v.z;
    to[4 * k + 3] = v.w;
  }
}

// The patch of a cell from the frame's pixels, where the level is not at hand; zeros beyond the level.
__device__ void sample_patch(const Quads& quads, int frame, const Level& level, const unsigned int* windows, int left,
                             int top, CellMemory& memory) {
  const int lane = threadIdx.x & 31, right = min(left + 12, level.width), bottom = min(top + 12, level.height);
  const unsigned int *const across = windows + level.x_windows, *const down = windows + level.y_windows;
  const int first = window_begin(across[left]) >> 2;
  const int reach = ((window_end(across[right - 1]) - 1) >> 2) - first + 1, inverse = (65535 + reach) / reach;
  uint4* const sums = reinterpret_cast<uint4*>(memory.pooled);
  const bool apart = reach <= kReach;
  for (int begin = top; begin < top + 12; begin += kRows) {
    if (apart)
      for (int k = lane; k < kRows * reach; k += 32) {
        const int row = k * inverse >> 16, y = begin + row;
        if (y >= bottom) continue;
        const unsigned int ys = down[y];
        column_sums(quads.row(frame, window_begin(ys)) + first + k - row * reach, quads.groups,
                    window_end(ys) - window_begin(ys), sums + 2 * k);
      }
    __syncwarp();
    for (int p = lane; p < kRows * 12; p += 32) {
      const int row = p / 12, x = left + p % 12, y = begin + row;
      float value[3] = {0.0f, 0.0f, 0.0f};
      if (x < right && y < bottom) {
        const unsigned int xs = across[x], ys = down[y];
        unsigned int sum[3];
        if (apart)
          add_columns(reinterpret_cast<const uint2*>(sums) + 4 * (row * reach - first) + window_begin(xs),
                      window_end(xs) - window_begin(xs), sum);
        else
          window_sum(quads, frame, xs, ys, sum);
        window_mean(xs, ys, sum, value);
        for (int c = 0; c < 3; ++c) value[c] = mtcnn_scale(value[c]);
      }
      for (int c = 0; c < 3; ++c) memory.patch[c][y - top][p % 12] = value[c];
    }
    __syncwarp();
  }
}

// Group frame * levels + level holds count[group] cells, tie[group * capacity + i] = level << 26 | cell. Of each: box in
// whole pixels as facenet-pytorch computes it, score (0 under the threshold) and offsets. full is set to 1 where a group
// has more cells than its capacity. grid.y is the group.
extern "C" __global__ void __launch_bounds__(256, 3)
    cells(const uint4* data, int frame_height, int groups, const float* exact, const Level* levels, int level_count,
          const unsigned int* windows, const CellWeights* weights, float threshold, int capacity, const unsigned int* tie,
          const int* count, float* box, float* score, float* offsets, int* full) {
  extern __shared__ __align__(16) float shared[];
  const int group = blockIdx.y, frame = group / level_count, items = min(count[group], capacity);
  if (blockIdx.x == 0 && threadIdx.x == 0 && count[group] > capacity) *full = 1;
  if (static_cast<int>(blockIdx.x) * kWarps >= items) return;
  const Quads quads{data, frame_height, groups};
  const Level level = levels[group % level_count];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  CellMemory& memory = reinterpret_cast<CellMemory*>(shared + sizeof(CellWeights) / sizeof(float))[warp];
  for (int i = threadIdx.x; i < static_cast<int>(sizeof(CellWeights) / sizeof(float4)); i += blockDim.x)
    reinterpret_cast<float4*>(shared)[i] = reinterpret_cast<const float4*>(weights)[i];
  __syncthreads();
  const CellWeights& w = *reinterpret_cast<const CellWeights*>(shared);

  for (int i = blockIdx.x * kWarps + warp; i < items; i += gridDim.x * kWarps) {
    const long long at = static_cast<long long>(group) * capacity + i;
    const int cell = static_cast<int>(tie[at] & ((1u << 26) - 1));
    const int cx = cell % level.columns, cy = cell / level.columns;
    if (level.exact < 0) {
      sample_patch(quads, frame, level, windows, 2 * cx, 2 * cy, memory);
    } else {
      for (int p = lane; p < 144; p += 32) {
        const int x = 2 * cx + p % 12, y = 2 * cy + p / 12;
        const float* const from =
            exact + 3 * (level.exact + (static_cast<long long>(frame) * level.height + y) * level.stride + x);
        const bool inside = x < level.width && y < level.height;
        for (int c = 0; c < 3; ++c) (&memory.patch[c][0][0])[p] = inside ? from[c] : 0.0f;
      }
      __syncwarp();
    }
    if (lane < 25) {
      const int py = lane / 5, px = lane % 5;
      float in[3][4][4];
#pragma unroll
      for (int c = 0; c < 3; ++c)
#pragma unroll
        for (int y = 0; y < 4; ++y)
#pragma unroll
          for (int x = 0; x < 4; ++x) in[c][y][x] = memory.patch[c][2 * py + y][2 * px + x];
      // ceil_mode: the last window of a level of odd size holds one column (row) only.
      const bool below = 2 * (cy + py) + 1 < level.height - 2, right = 2 * (cx + px) + 1 < level.width - 2;
      for (int n = 0; n < 10; ++n) {
        float sum[2][2] = {}, weights[28];
        load_floats<7>(w.first[n], weights);
#pragma unroll
        for (int c = 0; c < 3; ++c)
#pragma unroll
          for (int ky = 0; ky < 3; ++ky)
#pragma unroll
            for (int kx = 0; kx < 3; ++kx) {
#pragma unroll
              for (int dy = 0; dy < 2; ++dy)
#pragma unroll
                for (int dx = 0; dx < 2; ++dx)
                  sum[dy][dx] = fmaf(weights[c * 9 + ky * 3 + kx], in[c][ky + dy][kx + dx], sum[dy][dx]);
            }
        const float bias = w.bias1[n], slope = w.slope1[n];
        float best = prelu(sum[0][0] + bias, slope);
        if (right) best = fmaxf(best, prelu(sum[0][1] + bias, slope));
        if (below) best = fmaxf(best, prelu(sum[1][0] + bias, slope));
        if (right && below) best = fmaxf(best, prelu(sum[1][1] + bias, slope));
        memory.pooled[n][lane] = best;
      }
    }
    __syncwarp();
    {  // Two lanes share a channel: each adds up half of the inputs.
      const int n = lane & 15, half = lane >> 4;
      float sum[9] = {};
      for (int c = 5 * half; c < 5 * half + 5; ++c) {
        float in[28];
        load_floats<7>(memory.pooled[c], in);
#pragma unroll
        for (int k = 0; k < 9; ++k) {
          const float weight = w.second[c * 9 + k][n];
#pragma unroll
          for (int p = 0; p < 9; ++p) sum[p] = fmaf(weight, in[(p / 3 + k / 3) * 5 + p % 3 + k % 3], sum[p]);
        }
      }
      const float bias = w.bias2[n], slope = w.slope2[n];
#pragma unroll
      for (int p = 0; p < 9; ++p) {
        sum[p] += __shfl_xor_sync(0xffffffffu, sum[p], 16);
        if (half == p / 5) memory.middle[n][p] = prelu(sum[p] + bias, slope);
      }
    }
    __syncwarp();
    float sum = 0.0f;
    for (int c = 0; c < 16; ++c) {
      float in[12];
      load_floats<3>(memory.middle[c], in);
#pragma unroll
      for (int k = 0; k < 9; ++k) sum = fmaf(w.third[c * 9 + k][lane], in[k], sum);
    }
    sum = prelu(sum + w.bias3[lane], w.slope3[lane]);
    float out[6];
#pragma unroll
    for (int k = 0; k < 6; ++k) {
      out[k] = sum * w.head[k][lane];
      for (int step = 16; step > 0; step /= 2) out[k] += __shfl_xor_sync(0xffffffffu, out[k], step);
      out[k] += w.head_bias[k];
    }
    if (lane == 0) {
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
