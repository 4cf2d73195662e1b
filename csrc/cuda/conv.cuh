// A small network's layers on one crop in shared memory, in float32. Tensors are [channel][row][column].
#pragma once

namespace fastface {

__device__ __forceinline__ float prelu(float x, float slope) { return x > 0.0f ? x : slope * x; }

// Convolution of SIZE x SIZE without padding, bias and PReLU. in [IN_C][in_height][IN_W], out [OUT_C][rows][OUT_W].
// weight [IN_C][SIZE][SIZE][OUT_C], in device memory, 16-byte aligned. A thread computes PIXELS of a row (the last of a row
// overlap with those before) times CHANNELS; SPLIT threads share the input channels of one such task, and their sums meet
// in `partial` [SPLIT][OUT_C][rows][OUT_W].
template <int IN_C, int OUT_C, int SIZE, int IN_W, int PIXELS, int CHANNELS, int SPLIT>
__device__ void convolve(const float* in, int in_height, int rows, const float* __restrict__ weight,
                         const float* __restrict__ bias, const float* __restrict__ slope, float* out, float* partial) {
  constexpr int OUT_W = IN_W - SIZE + 1, GROUPS = OUT_C / CHANNELS, PER_ROW = (OUT_W + PIXELS - 1) / PIXELS;
  static_assert(OUT_C % CHANNELS == 0 && CHANNELS % 4 == 0 && IN_C % SPLIT == 0 && PIXELS <= OUT_W, "");
  const int tasks = rows * PER_ROW * GROUPS * SPLIT;
  for (int task = threadIdx.x; task < tasks; task += blockDim.x) {
    const int channel = task % GROUPS * CHANNELS, place = task / GROUPS % (rows * PER_ROW);
    const int split = task / GROUPS / (rows * PER_ROW);
    const int y = place / PER_ROW, x = min(place % PER_ROW * PIXELS, OUT_W - PIXELS);
    float sum[PIXELS][CHANNELS] = {};
    const float* from = in + (split * (IN_C / SPLIT) * in_height + y) * IN_W + x;
    const float* w = weight + split * (IN_C / SPLIT) * SIZE * SIZE * OUT_C + channel;
#pragma unroll 1
    for (int c = 0; c < IN_C / SPLIT; ++c) {
#pragma unroll
      for (int ky = 0; ky < SIZE; ++ky) {
        float a[PIXELS + SIZE - 1];
#pragma unroll
        for (int i = 0; i < PIXELS + SIZE - 1; ++i) a[i] = from[ky * IN_W + i];
#pragma unroll
        for (int kx = 0; kx < SIZE; ++kx) {
          float b[CHANNELS];
#pragma unroll
          for (int j = 0; j < CHANNELS; j += 4) {
            const float4 v = __ldg(reinterpret_cast<const float4*>(w + (ky * SIZE + kx) * OUT_C + j));
            b[j] = v.x;
            b[j + 1] = v.y;
            b[j + 2] = v.z;
            b[j + 3] = v.w;
          }
#pragma unroll
          for (int i = 0; i < PIXELS; ++i)
#pragma unroll
            for (int j = 0; j < CHANNELS; ++j) sum[i][j] = fmaf(a[i + kx], b[j], sum[i][j]);
        }
      }
      from += in_height * IN_W;
      w += SIZE * SIZE * OUT_C;
    }
    if (SPLIT == 1) {
#pragma unroll
      for (int j = 0; j < CHANNELS; ++j) {
        const float b = __ldg(bias + channel + j), s = __ldg(slope + channel + j);
#pragma unroll
        for (int i = 0; i < PIXELS; ++i) out[((channel + j) * rows + y) * OUT_W + x + i] = prelu(sum[i][j] + b, s);
      }
    } else {
#pragma unroll
      for (int j = 0; j < CHANNELS; ++j)
#pragma unroll
        for (int i = 0; i < PIXELS; ++i)
          partial[((split * OUT_C + channel + j) * rows + y) * OUT_W + x + i] = sum[i][j];
    }
  }
  if (SPLIT > 1) {
    __syncthreads();
    const int size = OUT_C * rows * OUT_W;
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
      float v = partial[i];
#pragma unroll
      for (int s = 1; s < SPLIT; ++s) v += partial[s * size + i];
      const int c = i / (rows * OUT_W);
      out[i] = prelu(v + __ldg(bias + c), __ldg(slope + c));
    }
  }
  __syncthreads();
}

// Max pooling SIZE x SIZE, 2 apart, in ceil mode: windows end where the input does. in [channels][in_height][in_width],
// rows of out [channels][out_height][out_width] from `row` on.
template <int SIZE>
__device__ void pool(const float* in, int channels, int in_height, int in_width, int rows, float* out, int out_height,
                     int out_width, int row) {
  for (int i = threadIdx.x; i < channels * rows * out_width; i += blockDim.x) {
    const int x = i % out_width, y = i / out_width % rows, c = i / out_width / rows;
    const float* from = in + (c * in_height + 2 * y) * in_width + 2 * x;
    float best = from[0];
#pragma unroll
    for (int dy = 0; dy < SIZE; ++dy)
#pragma unroll
      for (int dx = 0; dx < SIZE; ++dx)
        if (2 * y + dy < in_height && 2 * x + dx < in_width) best = fmaxf(best, from[dy * in_width + dx]);
    out[(c * out_height + row + y) * out_width + x] = best;
  }
  __syncthreads();
}

}  // namespace fastface
