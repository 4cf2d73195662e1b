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

constexpr int kWarps = 8;
struct CellMemory {
  float patch[3][12][12];
  float pooled[10][25];
  float middle[16][9];
};

// Group frame * levels + level holds count[group] cells, tie[group * capacity + i] = level << 26 | cell. Of each: box in
// whole pixels as facenet-pytorch computes it, score (0 under the threshold) and offsets. full is set to 1 where a group
// has more cells than its capacity. grid.y is the group.
extern "C" __global__ void __launch_bounds__(256)
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
    for (int p = lane; p < 144; p += 32) {
      const int x = 2 * cx + p % 12, y = 2 * cy + p / 12;
      float value[3] = {0.0f, 0.0f, 0.0f};
      if (x < level.width && y < level.height) {
        if (level.exact >= 0) {
          const float* from =
              exact + 3 * (level.exact + (static_cast<long long>(frame) * level.height + y) * level.stride + x);
          for (int c = 0; c < 3; ++c) value[c] = from[c];
        } else {
          const unsigned int xs = windows[level.x_windows + x], ys = windows[level.y_windows + y];
          unsigned int sum[3];
          window_sum(quads, frame, xs, ys, sum);
          window_mean(xs, ys, sum, value);
          for (int c = 0; c < 3; ++c) value[c] = mtcnn_scale(value[c]);
        }
      }
      for (int c = 0; c < 3; ++c) (&memory.patch[c][0][0])[p] = value[c];
    }
    __syncwarp();
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
        float sum[2][2] = {};
#pragma unroll
        for (int c = 0; c < 3; ++c)
#pragma unroll
          for (int ky = 0; ky < 3; ++ky)
#pragma unroll
            for (int kx = 0; kx < 3; ++kx) {
              const float weight = w.first[n][c * 9 + ky * 3 + kx];
#pragma unroll
              for (int dy = 0; dy < 2; ++dy)
#pragma unroll
                for (int dx = 0; dx < 2; ++dx) sum[dy][dx] = fmaf(weight, in[c][ky + dy][kx + dx], sum[dy][dx]);
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
    {
      const int n = lane & 15, half = lane >> 4;
      float sum[5] = {};
      for (int c = 0; c < 10; ++c)
#pragma unroll
        for (int k = 0; k < 9; ++k) {
          const float weight = w.second[c * 9 + k][n];
#pragma unroll
          for (int j = 0; j < 5; ++j) {
            const int p = min(2 * j + half, 8);
            sum[j] = fmaf(weight, memory.pooled[c][(p / 3 + k / 3) * 5 + p % 3 + k % 3], sum[j]);
          }
        }
#pragma unroll
      for (int j = 0; j < 5; ++j)
        if (2 * j + half < 9) memory.middle[n][2 * j + half] = prelu(sum[j] + w.bias2[n], w.slope2[n]);
    }
    __syncwarp();
    float sum = 0.0f;
    for (int c = 0; c < 16; ++c)
#pragma unroll
      for (int k = 0; k < 9; ++k) sum = fmaf(w.third[c * 9 + k][lane], memory.middle[c][k], sum);
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
