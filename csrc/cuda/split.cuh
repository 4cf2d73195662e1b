// Convolutions on tensor cores with float32's precision, for small networks whose tensors stay in shared memory.
//
// An operand is the sum of two numbers of half precision, the second of which is what the first leaves over (22 bits in
// all), and a product the sum of three: high * high + high * low + low * high. Weights are scaled by a power of two, so
// that what is left over is no subnormal number; activations of R- and O-Net cannot exceed 2,300 (the sums of their
// weights' absolute values), far from half precision's limit.
//
// A convolution sees the pixels of a tensor one after the other: 16 of them are a tile, wherever rows end, and what comes
// out where windows reach over the end of a row is not used. A pixel holds its channels' high parts, then the low ones, in
// chunks of 16 bytes whose order depends on the pixel's number, so that neighbours lie in different banks.
#pragma once

#include "activation.cuh"
#include "mma.cuh"

namespace fastface {

// conv1 gives a few rows at a time, which are pooled at once; the last of them is kept for the rows after it.
constexpr int kRingRows = 5;

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

// Sums to activations of channels c and c + 1.
__device__ __forceinline__ float2 activate(float a, float b, float unscale, const float* bias, const float* slope, int c) {
  const float2 add = __ldg(reinterpret_cast<const float2*>(bias + c)),
               s = __ldg(reinterpret_cast<const float2*>(slope + c));
  return make_float2(prelu(fmaf(a, unscale, add.x), s.x), prelu(fmaf(b, unscale, add.y), s.y));
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

// Bytes of a crop of SIDE x SIDE pixels: 8 a pixel (R, G, B, 0), of each row the high parts, then the low ones; and one
// pixel more, for windows are four pixels wide, of which the last meets weights of zero and must be finite.
template <int SIDE>
constexpr int kCropBytes = SIDE * SIDE * 16 + 8;

template <int SIDE>
__device__ __forceinline__ void put_crop(unsigned char* crop, int p, const float* rgb) {
  unsigned char* const to = crop + p / SIDE * SIDE * 16 + p % SIDE * 8;
  split(rgb[0], rgb[1], to, to + SIDE * 8);
  split(rgb[2], 0.0f, to + 4, to + SIDE * 8 + 4);
  if (p == 0) *reinterpret_cast<uint2*>(crop + SIDE * SIDE * 16) = make_uint2(0, 0);
}

// The first layer of R- and O-Net: 3 x 3, 32 channels, and its pooling by 3 x 3, 2 apart, to half the side, 128 bytes a
// pixel. ring: [kRingRows][SIDE][32]. Pooled rows may take the place of rows of the crop that are not read again. Ends with
// a barrier.
template <int SIDE, int WARPS>
__device__ __forceinline__ void first_layer(const unsigned char* crop, float* ring, unsigned char* pooled,
                                            const uint4 (*weights)[4][32], float unscale, const float* bias,
                                            const float* slope) {
  constexpr int LEFT = SIDE - 2, HALF = LEFT / 2, ROW = SIDE * 16;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3, group = 2 * (warp & 1);
  uint4 w[3][2];
#pragma unroll
  for (int ky = 0; ky < 3; ++ky)
#pragma unroll
    for (int j = 0; j < 2; ++j) w[ky][j] = __ldg(&weights[ky][group + j][lane]);
  for (int strip = 0; 2 * strip < HALF; ++strip) {
    const int begin = strip ? 4 * strip + 1 : 0, rows = min(4 * strip + 5, LEFT) - begin;
    for (int tile = warp >> 1; 16 * tile < rows * SIDE; tile += WARPS / 2) {
      const int q[2] = {16 * tile + g, 16 * tile + g + 8};
      const unsigned char* const from[2] = {crop + (begin + q[0] / SIDE) * ROW + q[0] % SIDE * 8 + 4 * t,
                                            crop + (begin + q[1] / SIDE) * ROW + q[1] % SIDE * 8 + 4 * t};
      float sum[2][4] = {};
#pragma unroll
      for (int ky = 0; ky < 3; ++ky) {
        unsigned int part[2][4];
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
          for (int e = 0; e < 4; ++e)
            part[i][e] = *reinterpret_cast<const unsigned int*>(from[e & 1] + ky * ROW + i * SIDE * 8 + (e >> 1) * 16);
        multiply(sum[0], part[0], part[1], w[ky][0]);
        multiply(sum[1], part[0], part[1], w[ky][1]);
      }
#pragma unroll
      for (int half = 0; half < 2; ++half)
        if (q[half] < rows * SIDE)
#pragma unroll
          for (int j = 0; j < 2; ++j) {
            const int c = 8 * (group + j) + 2 * t;
            *place<32>(ring, (begin + q[half] / SIDE) % kRingRows * SIDE + q[half] % SIDE, c) =
                activate(sum[j][2 * half], sum[j][2 * half + 1], unscale, bias, slope, c);
          }
    }
    __syncthreads();
    for (int task = threadIdx.x; task < min(2, HALF - 2 * strip) * HALF * 16; task += 32 * WARPS) {
      const int pair = task % 16, x = task / 16 % HALF, y = 2 * strip + task / 16 / HALF;
      float2 best = *place<32>(ring, 2 * y % kRingRows * SIDE + 2 * x, 2 * pair);
#pragma unroll
      for (int k = 1; k < 9; ++k)
        if (2 * y + k / 3 < LEFT && 2 * x + k % 3 < LEFT)
          best = max2(best, *place<32>(ring, (2 * y + k / 3) % kRingRows * SIDE + 2 * x + k % 3, 2 * pair));
      put<128>(pooled, y * HALF + x, pair, best);
    }
    __syncthreads();
  }
}

}  // namespace fastface
