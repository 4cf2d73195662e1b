// Convolutions on tensor cores with float32's precision, for small networks whose tensors stay in shared memory.
//
// An operand is the sum of two numbers of half precision, the second of which is what the first leaves over (22 bits in
// all), and a product the sum of three: high * high + high * low + low * high. Weights are scaled by a power of two, so
// that what is left over is no subnormal number; activations that are split cannot exceed 1,000 (the sums of the weights'
// absolute values), far from half precision's limit.
//
// A convolution (but for the first layer) sees the pixels of a tensor one after the other: 16 of them are a tile, wherever
// rows end, and what comes out where windows reach over the end of a row is not used. A pixel holds its channels' high
// parts, then the low ones, in chunks of 16 bytes whose order depends on the pixel's number, so that neighbours lie in
// different banks.
#pragma once

#include "rows.cuh"

namespace fastface {

// Two numbers as high and low parts.
__device__ __forceinline__ void split(float a, float b, unsigned char* high, unsigned char* low) {
  const __half2 h = __floats2half2_rn(a, b);
  *reinterpret_cast<__half2*>(high) = h;
  *reinterpret_cast<unsigned int*>(low) = pack_half2(a - __low2float(h), b - __high2float(h));
}

// w: a lane's weights, x and y the high parts, z and w the low ones.
__device__ __forceinline__ void multiply(float (&sum)[4], const unsigned int (&high)[4], const unsigned int (&low)[4],
                                         uint4 w) {
  mma16816(sum, low, make_uint2(w.x, w.y));
  mma16816(sum, high, make_uint2(w.z, w.w));
  mma16816(sum, high, make_uint2(w.x, w.y));
}

// Where channels c and c + 1 of a pixel are in a tensor of float32, [pixel][CHANNELS], groups of 8 channels in an order of
// the pixel's.
template <int CHANNELS>
__device__ __forceinline__ float2* place(float* tensor, int pixel, int c) {
  return reinterpret_cast<float2*>(tensor + pixel * CHANNELS + (c ^ (pixel & 3) << 3));
}

// Where chunk `chunk` of a pixel's high parts is, in a tensor of PIXEL bytes a pixel; the low parts' are at
// `low_part<PIXEL>` of that.
template <int PIXEL>
__device__ __forceinline__ int chunk_at(int pixel, int chunk) {
  return pixel * PIXEL + ((chunk ^ (pixel & 7)) << 4);
}
template <int PIXEL>
__device__ __forceinline__ int low_part(int at) {
  return at ^ (PIXEL / 2);
}

// Channels 2 * pair and 2 * pair + 1 of a pixel, in two parts.
template <int PIXEL>
__device__ __forceinline__ void put(unsigned char* tensor, int pixel, int pair, float2 v) {
  const int at = chunk_at<PIXEL>(pixel, pair / 4) + pair % 4 * 4;
  split(v.x, v.y, tensor + at, tensor + low_part<PIXEL>(at));
}

__device__ __forceinline__ float2 max2(float2 a, float2 b) { return make_float2(fmaxf(a.x, b.x), fmaxf(a.y, b.y)); }

// Sums to activations of two channels.
__device__ __forceinline__ float2 activate(float a, float b, float unscale, float2 bias, float2 slope) {
  return make_float2(prelu(fmaf(a, unscale, bias.x), slope.x), prelu(fmaf(b, unscale, bias.y), slope.y));
}

// The same of channels c and c + 1.
__device__ __forceinline__ float2 activate(float a, float b, float unscale, const float* bias, const float* slope, int c) {
  return activate(a, b, unscale, __ldg(reinterpret_cast<const float2*>(bias + c)),
                  __ldg(reinterpret_cast<const float2*>(slope + c)));
}

// Adds to sum, of tiles first, first + APART, ... (pixels at which they begin), and of N groups of 8 channels from `group`
// on, steps [from, to) of a convolution of SIZE x SIZE. `in`: address of a tensor of PIXEL bytes a pixel, ROW pixels a row.
// A step is 16 inputs of one of the window's pixels; a pixel has STEPS. weights [SIZE * SIZE * STEPS][GROUPS][32 lanes].
template <int SIZE, int ROW, int STEPS, int PIXEL, int APART, int M, int N, int GROUPS>
__device__ __forceinline__ void convolve(float (&sum)[M][N][4], unsigned int in, int first,
                                         const uint4 (*weights)[GROUPS][32], int group, int from, int to) {
  const int lane = threadIdx.x & 31;
#pragma unroll 2
  for (int step = from; step < to; ++step) {
    const int k = step / STEPS, chunk = 2 * (step % STEPS) + (lane >> 4);
    uint4 w[N];
#pragma unroll
    for (int j = 0; j < N; ++j) w[j] = __ldg(&weights[step][group + j][lane]);
#pragma unroll
    for (int m = 0; m < M; ++m) {
      const int at = chunk_at<PIXEL>(first + APART * m + (lane & 15) + k / SIZE * ROW + k % SIZE, chunk);
      unsigned int high[4], low[4];
      load_matrix(high, in + at);
      load_matrix(low, in + low_part<PIXEL>(at));
#pragma unroll
      for (int j = 0; j < N; ++j) multiply(sum[m][j], high, low, w[j]);
    }
  }
}

// A crop of SIDE x SIDE pixels: 8 bytes a pixel (R, G, B, 0), of each row the high parts, then the low ones.
template <int SIDE>
constexpr int kCropBytes = SIDE * SIDE * 16;

template <int SIDE>
__device__ __forceinline__ void put_crop(unsigned char* crop, int p, const float* rgb) {
  unsigned char* const to = crop + p / SIDE * SIDE * 16 + p % SIDE * 8;
  split(rgb[0], rgb[1], to, to + SIDE * 8);
  split(rgb[2], 0.0f, to + 4, to + SIDE * 8 + 4);
}

// Every other pixel of a row of the crop as a tile, each with the three after it.
struct Inputs {
  unsigned int high[4], low[4];
  template <int SIDE>
  __device__ __forceinline__ void load(unsigned int address) {
    load_matrix(high, address);
    load_matrix(low, address + SIDE * 8);
  }
};

// The first layer of R- and O-Net: 3 x 3, 32 channels, and its pooling by 3 x 3, 2 apart, to SIDE / 2 - 1 pixels a side,
// 128 bytes each. A warp computes 8 channels, of all rows or half of them, going down: a row of the crop is loaded once for
// all rows that see it, and rows are pooled in registers. A tile is every other pixel of a row; its inputs, with weights
// moved on by one ([dx][ky][8 channels]), give the pixels between as well. The last two pooled rows may take the place of
// the crop's first five. Ends with a barrier.
template <int SIDE, int WARPS>
__device__ __forceinline__ void first_layer(const unsigned char* crop, unsigned char* pooled,
                                            const uint4 (*weights)[3][4][32], float unscale, const float* bias,
                                            const float* slope) {
  constexpr int LEFT = SIDE - 2, HALF = LEFT / 2, ROW = SIDE * 16, SHARE = (4 * HALF + WARPS - 1) / WARPS;
  constexpr bool WIDE = HALF > 16;  // more than a tile a row: another has the 8 pixels that follow, of two rows
  static_assert(HALF <= 24 && WARPS % 4 == 0 && (WARPS / 4 - 1) * SHARE < HALF, "all warps have rows");
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3, group = warp % 4;
  const int begin = warp / 4 * SHARE, end = min(begin + SHARE, HALF);
  const float2 add = __ldg(reinterpret_cast<const float2*>(bias + 8 * group) + t),
               s = __ldg(reinterpret_cast<const float2*>(slope + 8 * group) + t);
  uint4 w[2][3];
#pragma unroll
  for (int dx = 0; dx < 2; ++dx)
#pragma unroll
    for (int ky = 0; ky < 3; ++ky) w[dx][ky] = __ldg(&weights[dx][ky][group][lane]);

  struct Row {
    float2 even[2], odd[2];  // at the tile's pixels (g and g + 8) and between them
  };
  const auto row_of = [&](const Inputs& a, const Inputs& b, const Inputs& d) {
    float sum[2][4] = {};
#pragma unroll
    for (int dx = 0; dx < 2; ++dx) multiply(sum[dx], a.high, a.low, w[dx][0]);
#pragma unroll
    for (int dx = 0; dx < 2; ++dx) multiply(sum[dx], b.high, b.low, w[dx][1]);
#pragma unroll
    for (int dx = 0; dx < 2; ++dx) multiply(sum[dx], d.high, d.low, w[dx][2]);
    Row out;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      out.even[half] = activate(sum[0][2 * half], sum[0][2 * half + 1], unscale, add, s);
      out.odd[half] = activate(sum[1][2 * half], sum[1][2 * half + 1], unscale, add, s);
    }
    return out;
  };

  const unsigned int top = shared_address(crop) + 2 * begin * ROW + (lane >> 4) * 16;
  unsigned int from = top + min(lane & 15, HALF - 1) * 16;
  Inputs in[4];
  in[3].load<SIDE>(from);
  in[0].load<SIDE>(from + ROW);
  in[1].load<SIDE>(from + 2 * ROW);
  Row row = row_of(in[3], in[0], in[1]);
  unsigned int from_wide = top + (lane >> 3 & 1) * ROW + min(16 + (lane & 7), HALF - 1) * 16;
  Inputs wide[3];
  Row two;  // two rows of conv1: [0] and [1]
  const auto next_two = [&] {
    wide[0] = wide[2];
    wide[1].load<SIDE>(from_wide + ROW);
    wide[2].load<SIDE>(from_wide + 2 * ROW);
    from_wide += 2 * ROW;
    two = row_of(wide[0], wide[1], wide[2]);
  };
  if constexpr (WIDE) {
    wide[2].load<SIDE>(from_wide);
    next_two();
  }

  for (int y = begin; y < end; ++y) {
    const bool below = 2 * y + 2 < LEFT;
    Row best = row;
    const auto take = [&] {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        best.even[half] = max2(best.even[half], row.even[half]);
        best.odd[half] = max2(best.odd[half], row.odd[half]);
      }
    };
    in[2].load<SIDE>(from + 3 * ROW);
    row = row_of(in[0], in[1], in[2]);
    take();
    if (below) {
      in[3].load<SIDE>(from + 4 * ROW);
      row = row_of(in[1], in[2], in[3]);
      take();
    }
    from += 2 * ROW;
    in[0] = in[2];
    in[1] = in[3];
    float2 even_wide, odd_wide;
    if constexpr (WIDE) {
      even_wide = max2(two.even[0], two.even[1]);
      odd_wide = max2(two.odd[0], two.odd[1]);
      if (below) {
        next_two();
        even_wide = max2(even_wide, two.even[0]);
        odd_wide = max2(odd_wide, two.odd[0]);
      }
    }

    const float2 next = next_pixel(best.even[0]), next8 = next_pixel(best.even[1]);
    put<128>(pooled, y * HALF + g, 4 * group + t, max2(max2(best.even[0], best.odd[0]), g == 7 ? next8 : next));
    // The last window ends where conv1 does.
    float2 right = max2(best.even[1], best.odd[1]);
    if constexpr (WIDE) {
      const float2 next16 = next_pixel(even_wide);
      right = max2(right, g == 7 ? next16 : next8);
      float2 last = max2(even_wide, odd_wide);
      if (g + 17 < HALF) last = max2(last, next16);
      if (g + 16 < HALF) put<128>(pooled, y * HALF + g + 16, 4 * group + t, last);
    } else if (g + 9 < HALF) {
      right = max2(right, next8);
    }
    if (g + 8 < HALF) put<128>(pooled, y * HALF + g + 8, 4 * group + t, right);
    if (y == begin) __syncthreads();  // all have read the crop's first rows
  }
  __syncthreads();
}

}  // namespace fastface
