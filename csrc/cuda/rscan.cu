// R-Net over all candidates on tensor cores, in half precision: it only says which of them R-Net may take for a face, and
// rnet.cu then scores those in float32. One block of 6 warps computes 16 candidates, one after the other; their fully
// connected layers together.
//
// A warp goes down rows, loads a row of a layer's input once for all rows of the output that see it, and pools in registers
// before anything is written, so that little goes through shared memory. Three blocks a processor fill each other's pauses.
#include "candidate.cuh"
#include "common/area.h"
#include "rows.cuh"

namespace fastface {

// The weights as lanes hold them; fastface/detect/cuda/weights.py packs the same struct.
struct RScanWeights {
  uint2 first[2][3][4][32];   // conv1: [dx][ky][8 channels], of the first or the last 3 of 4 pixels of 4 colours
  uint2 second[9][2][6][32];  // conv2: [ky * 3 + kx][16 inputs][8 channels]
  uint2 third[4][3][8][32];   // conv3: [ky * 2 + kx][16 inputs][8 channels]
  uint2 dense[36][16][32];    // [16 inputs, (row * 3 + column) * 64 + channel][8 outputs]
  float bias1[32], slope1[32], bias2[48], slope2[48], bias3[64], slope3[64], bias4[128], slope4[128], head[128], head_bias,
      unused[3];
};

constexpr int kItems = 16, kWarps = 6, kThreads = 32 * kWarps, kSide = 24;
// Rows of pixels are 24, 11 and 4 long; strides in bytes, padded against bank conflicts. Beyond the pixels of the last
// tensor there are a few that windows of garbage read.
constexpr int kPooledStride = 80, kSmallStride = 112, kSmallPixels = 24, kFeatureStride = 1168;
// Groups of four pixels that a square may reach over for its columns' sums to have room, and numbers of them to be divided.
constexpr int kReach = 49;
// Bytes: the crop, its columns' sums, of which conv1's output takes the place, conv2's output, and all candidates'
// features.
constexpr int kSums = kSide * kSide * 8, kPooled = kSums, kSmall = kSums + kSide * kReach * 32;
constexpr int kFeatures = kSmall + kSmallPixels * kSmallStride;
static_assert(11 * 11 * kPooledStride <= kSmall - kPooled, "");
static_assert(kSide * kReach * (kReach - 1) < 65536, "kReach");
static_assert(kFeatures + kItems * kFeatureStride == 63616, "what fastface/detect/cuda asks for");

// Begins the sums of channels c and c + 1 of two pixels with their biases, which are at `bias`.
__device__ __forceinline__ void begin_sum(float (&sum)[4], const float* bias) {
  const float2 b = __ldg(reinterpret_cast<const float2*>(bias));
  sum[0] = sum[2] = b.x;
  sum[1] = sum[3] = b.y;
}

// Two channels of a pixel.
__device__ __forceinline__ __half2 activated(const float* sum, __half2 slope) {
  return prelu2(__floats2half2_rn(sum[0], sum[1]), slope);
}

// The slopes of two channels, as prelu2 takes them.
__device__ __forceinline__ __half2 slope_of(const float* slope) {
  const float2 both = __ldg(reinterpret_cast<const float2*>(slope));
  return prelu_slopes(both.x, both.y);
}

__device__ __forceinline__ void put(unsigned char* to, __half2 v) { *reinterpret_cast<unsigned int*>(to) = bits(v); }

// conv1, 3 to 28 channels (four more are zero), and its pooling to 11 x 11: a warp computes 16 channels of four rows of
// these, as in split.cuh, without their low parts.
__device__ __forceinline__ void first_layer(const unsigned char* crop, unsigned char* pooled, const RScanWeights* w) {
  constexpr int kLeft = kSide - 2, kOut = kLeft / 2;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3, group = 2 * (warp / 3);
  const int c = 8 * group + 2 * t, begin = warp % 3 * 4;
  uint2 weights[2][3][2];
#pragma unroll
  for (int dx = 0; dx < 2; ++dx)
#pragma unroll
    for (int ky = 0; ky < 3; ++ky)
#pragma unroll
      for (int j = 0; j < 2; ++j) weights[dx][ky][j] = __ldg(&w->first[dx][ky][group + j][lane]);
  const __half2 slope[2] = {slope_of(w->slope1 + c), slope_of(w->slope1 + c + 8)};

  __half2 even[2][2], odd[2][2];  // of a row of conv1, at the tile's pixels and between them: [8 pixels][8 channels]
  const auto convolve = [&](const unsigned int (&a)[4], const unsigned int (&b)[4], const unsigned int (&d)[4]) {
    float sum[2][2][4];
#pragma unroll
    for (int dx = 0; dx < 2; ++dx)
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        begin_sum(sum[dx][j], w->bias1 + c + 8 * j);
        mma16816(sum[dx][j], a, weights[dx][0][j]);
        mma16816(sum[dx][j], b, weights[dx][1][j]);
        mma16816(sum[dx][j], d, weights[dx][2][j]);
      }
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        even[half][j] = activated(sum[0][j] + 2 * half, slope[j]);
        odd[half][j] = activated(sum[1][j] + 2 * half, slope[j]);
      }
  };

  constexpr int kRow = kSide * 8;
  unsigned int from = shared_address(crop) + 2 * begin * kRow + (min(lane & 15, kOut - 1) + (lane >> 4)) * 16;
  unsigned int row[4][4];
  load_matrix(row[3], from);
  load_matrix(row[0], from + kRow);
  load_matrix(row[1], from + 2 * kRow);
  convolve(row[3], row[0], row[1]);
  for (int y = begin; y < min(begin + 4, kOut); ++y) {
    __half2 best[2][2], best_odd[2][2];
    const auto take = [&](bool all) {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        __half2 &e = best[k / 2][k % 2], &o = best_odd[k / 2][k % 2];
        e = all ? even[k / 2][k % 2] : __hmax2(e, even[k / 2][k % 2]);
        o = all ? odd[k / 2][k % 2] : __hmax2(o, odd[k / 2][k % 2]);
      }
    };
    take(true);
    load_matrix(row[2], from + 3 * kRow);
    convolve(row[0], row[1], row[2]);
    take(false);
    if (2 * y + 2 < kLeft) {
      load_matrix(row[3], from + 4 * kRow);
      convolve(row[1], row[2], row[3]);
      take(false);
    }
    from += 2 * kRow;
#pragma unroll
    for (int k = 0; k < 4; ++k) row[0][k] = row[2][k], row[1][k] = row[3][k];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const __half2 next = next_pixel(best[0][j]), next8 = next_pixel(best[1][j]);
      unsigned char* const to = pooled + (y * kOut + g) * kPooledStride + 2 * (c + 8 * j);
      const __half2 left = __hmax2(__hmax2(best[0][j], best_odd[0][j]), g == 7 ? next8 : next);
      __half2 right = __hmax2(best[1][j], best_odd[1][j]);
      if (g + 9 < kOut) right = __hmax2(right, next8);  // the last window ends where conv1 does
      put(to, left);
      if (g + 8 < kOut) put(to + 8 * kPooledStride, right);
    }
  }
}

// conv2, 28 to 48 channels, and its pooling to 4 x 4: a warp computes 16 channels of two rows of these. A tile is the first
// 8 pixels of a row, and those one further on.
__device__ __forceinline__ void second_layer(const unsigned char* pooled, unsigned char* small, const RScanWeights* w) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3, group = 2 * (warp % 3);
  const int c = 8 * group + 2 * t, top = 4 * (warp / 3);
  constexpr int kRow = 11 * kPooledStride, kRows = 5;
  const unsigned int from =
      shared_address(pooled) + top * kRow + ((lane & 7) + (lane >> 3 & 1)) * kPooledStride + (lane >> 4) * 16;
  float sum[kRows][2][4];
#pragma unroll
  for (int y = 0; y < kRows; ++y)
#pragma unroll
    for (int j = 0; j < 2; ++j) begin_sum(sum[y][j], w->bias2 + c + 8 * j);
#pragma unroll
  for (int s = 0; s < 2; ++s) {
    uint2 weights[9][2];
#pragma unroll
    for (int k = 0; k < 9; ++k)
#pragma unroll
      for (int j = 0; j < 2; ++j) weights[k][j] = __ldg(&w->second[k][s][group + j][lane]);
#pragma unroll
    for (int r = 0; r < kRows + 2; ++r) {
      unsigned int a[3][4];
      load_matrix(a[0], from + r * kRow + s * 32);
      load_matrix(a[2], from + r * kRow + s * 32 + 2 * kPooledStride);
      a[1][0] = a[0][1], a[1][1] = a[2][0], a[1][2] = a[0][3], a[1][3] = a[2][2];
#pragma unroll
      for (int kx = 0; kx < 3; ++kx) add_row<kRows>(sum, r, a[kx], [&](int ky, int j) { return weights[ky * 3 + kx][j]; });
    }
  }
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const __half2 slope = slope_of(w->slope2 + c + 8 * j);
    __half2 best[2];
#pragma unroll
    for (int y = 0; y < kRows; ++y) {
      const __half2 v[2] = {activated(sum[y][j], slope), activated(sum[y][j] + 2, slope)};
#pragma unroll
      for (int k = 0; k < 2; ++k) best[k] = y ? __hmax2(best[k], v[k]) : v[k];
      if (y == 0 || y % 2) continue;
      const __half2 whole = __hmax2(__hmax2(best[0], best[1]), next_pixel(best[1]));
      if (g % 2 == 0) put(small + (2 * top + 2 * y - 4 + g / 2) * kSmallStride + 2 * (c + 8 * j), whole);
      best[0] = v[0], best[1] = v[1];
    }
  }
}

// Candidates as in rnet.cu. score [capacity] becomes 0 and box_out [capacity, 4] the square that was looked at; those whose
// logit of a face (over that of none) reaches `least` are appended to chosen [capacity], *chosen_count of them. Where more
// were kept than the capacity, nothing is done: the pass runs again with more. *begun: see begin_with.
extern "C" __global__ void __launch_bounds__(kThreads, 3)
    rscan(const uint4* data, int height, int width, int groups, const int* kept, const int* kept_frame, const int* total,
          int capacity, const float* box, const float* offsets, const RScanWeights* w, float least, float* box_out,
          float* score, int* chosen, int* chosen_count, int* begun) {
  extern __shared__ __align__(16) unsigned char shared[];
  __shared__ float partial[kWarps][kItems];
  __shared__ int rects[kItems][4], frame_of[kItems];  // an empty rectangle: nothing of the square is in the frame
  unsigned char* const sums = shared + kSums;
  unsigned char* const pooled = shared + kPooled;
  unsigned char* const small = shared + kSmall;
  unsigned char* const features = shared + kFeatures;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  const Quads quads{data, height, groups};
  const int count = *total <= capacity ? *total : 0;

  for (int begin; (begin = begin_with(begun, kItems)) < count;) {
    const int items = min(kItems, count - begin);
    if (static_cast<int>(threadIdx.x) < items) {
      const int i = begin + threadIdx.x, from = kept[i];
      float moved[4], squared[4];
      refine(box + 4ll * from, offsets + 4ll * from, false, moved);
      square(moved, squared);
      int* const rect = rects[threadIdx.x];
      if (!pixel_rect(squared, width, height, rect)) rect[2] = rect[0], rect[3] = rect[1];
      frame_of[threadIdx.x] = kept_frame[i];
      for (int c = 0; c < 4; ++c) box_out[4ll * i + c] = squared[c];
    }
    __syncthreads();
    // The windows of a candidate's columns and rows lie where its features will.
    for (int k = threadIdx.x; k < items * 2 * kSide; k += kThreads) {
      const int item = k / (2 * kSide), axis = k / kSide % 2, at = k % kSide;
      const int* const rect = rects[item];
      const int from = rect[axis], size = rect[2 + axis] - from;
      reinterpret_cast<unsigned int*>(features + item * kFeatureStride)[k % (2 * kSide)] =
          (from + area_begin(at, size, kSide)) | (from + area_end(at, size, kSide)) << 16;
    }
    __syncthreads();

    for (int item = 0; item < items; ++item) {
      const unsigned int* const windows = reinterpret_cast<const unsigned int*>(features + item * kFeatureStride);
      const int* const rect = rects[item];
      const int across = rect[2] - rect[0], down = rect[3] - rect[1], first = rect[0] >> 2;
      const int reach = ((rect[2] - 1) >> 2) - first + 1;  // groups of four pixels of a row
      // Sums down each column first, for all rows of the square, where they have room and fit into 16 bits.
      const bool apart = reach <= kReach && (across / kSide + 2) * (down / kSide + 2) < 258;
      const Columns columns{reinterpret_cast<uint4*>(sums), first, reach};
      if (apart && across > 0) {
        columns.add(quads, frame_of[item], kSide, threadIdx.x, kThreads, [&](int row) { return windows[kSide + row]; });
        __syncthreads();
      }
      for (int p = threadIdx.x; p < kSide * kSide; p += kThreads) {
        float value[3] = {0.0f, 0.0f, 0.0f};
        if (across > 0) {
          const unsigned int xs = windows[p % kSide], ys = windows[kSide + p / kSide];
          unsigned int sum[3];
          if (apart)
            columns.window_sum(p / kSide, xs, sum);
          else
            window_sum(quads, frame_of[item], xs, ys, sum);
          rough_mean(xs, ys, sum, true, value);
        }
        uint2 packed;
        packed.x = pack_half2(value[0], value[1]);
        packed.y = pack_half2(value[2], 0.0f);
        reinterpret_cast<uint2*>(shared)[p] = packed;
      }
      __syncthreads();

      first_layer(shared, pooled, w);
      __syncthreads();
      second_layer(pooled, small, w);
      __syncthreads();

      // conv3, 48 to 64 channels
      for (int j = warp; j < 8; j += kWarps) {
        const int c = 8 * j + 2 * t;
        float sum[4];
        begin_sum(sum, w->bias3 + c);
        const unsigned int address = shared_address(small) + (lane & 15) * kSmallStride + (lane >> 4) * 16;
#pragma unroll
        for (int k = 0; k < 4; ++k)
#pragma unroll
          for (int s = 0; s < 3; ++s) {
            unsigned int a[4];
            load_matrix(a, address + (k / 2 * 4 + k % 2) * kSmallStride + s * 32);
            mma16816(sum, a, __ldg(&w->third[k][s][j][lane]));
          }
        const __half2 slope = slope_of(w->slope3 + c);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int q = g + 8 * half, y = q / 4, x = q % 4;
          if (y < 3 && x < 3)
            put(features + item * kFeatureStride + ((y * 3 + x) * 64 + c) * 2, activated(sum + 2 * half, slope));
        }
      }
    }
    __syncthreads();

    // The fully connected layer of all of them, and the difference of the two logits.
    float logit[2] = {0.0f, 0.0f};
    for (int j = warp; j < 16; j += kWarps) {
      float sum[4] = {};
      const unsigned int address = shared_address(features) + (lane & 15) * kFeatureStride + (lane >> 4) * 16;
#pragma unroll 6
      for (int k = 0; k < 36; ++k) {
        unsigned int a[4];
        load_matrix(a, address + k * 32);
        mma16816(sum, a, __ldg(&w->dense[k][j][lane]));
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int c = 8 * j + 2 * t + i;
        const float bias = __ldg(w->bias4 + c), slope = __ldg(w->slope4 + c), head = __ldg(w->head + c);
        logit[0] = fmaf(prelu(sum[i] + bias, slope), head, logit[0]);
        logit[1] = fmaf(prelu(sum[2 + i] + bias, slope), head, logit[1]);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float v = logit[half];
      v += __shfl_xor_sync(0xffffffffu, v, 1);
      v += __shfl_xor_sync(0xffffffffu, v, 2);
      if (t == 0) partial[warp][g + 8 * half] = v;
    }
    __syncthreads();
    if (threadIdx.x < items) {
      float v = w->head_bias;
      for (int k = 0; k < kWarps; ++k) v += partial[k][threadIdx.x];
      score[begin + threadIdx.x] = 0.0f;
      if (v >= least) chosen[atomicAdd(chosen_count, 1)] = begin + threadIdx.x;
    }
  }
}

}  // namespace fastface
