// R-Net over all candidates on tensor cores, in half precision: it only says which of them R-Net may take for a face, and
// rnet.cu then scores those in float32. One block of 6 warps computes 16 candidates, one after the other; their fully
// connected layers together. The weights of conv2, the largest, stay in registers.
#include "activation.cuh"
#include "common/area.h"
#include "common/geometry.h"
#include "levels.cuh"
#include "mma.cuh"

namespace fastface {

// The weights as lanes hold them; fastface/detect/cuda/weights.py packs the same struct.
struct RScanWeights {
  uint2 first[3][4][32];      // conv1: [ky][8 channels], inputs 4 pixels of 4 colours side by side
  uint2 second[9][2][6][32];  // conv2: [ky * 3 + kx][16 inputs][8 channels]
  uint2 third[4][3][8][32];   // conv3: [ky * 2 + kx][16 inputs][8 channels]
  uint2 dense[36][16][32];    // [16 inputs, (row * 3 + column) * 64 + channel][8 outputs]
  float bias1[32], slope1[32], bias2[48], slope2[48], bias3[64], slope3[64], bias4[128], slope4[128], head[128], head_bias,
      unused[3];
};

constexpr int kItems = 16, kThreads = 192, kSide = 24;
// Rows of pixels are 24, 12, 12 and 4 long; strides in bytes, padded against bank conflicts. Beyond the pixels there are a
// few that windows of garbage read.
constexpr int kCropPixels = 592, kWideStride = 72, kWidePixels = 528, kPooledStride = 80, kPooledPixels = 144;
constexpr int kSmallStride = 112, kSmallPixels = 24, kFeatureStride = 1168;
constexpr int kWide = kCropPixels * 8, kPooled = kWide + kWidePixels * kWideStride;
constexpr int kSmall = kPooled + kPooledPixels * kPooledStride, kFeatures = kSmall + kSmallPixels * kSmallStride;
// Groups of four pixels that a square may reach over for its columns' sums to have room, and numbers of them to be divided.
constexpr int kReach = 49;
static_assert(kSide * kReach * 32 <= kWidePixels * kWideStride && kSide * kReach * (kReach - 1) < 65536, "kReach");
static_assert(112 * kSmallStride <= kWidePixels * kWideStride, "conv2's output replaces conv1's");
static_assert(kFeatures + kItems * kFeatureStride == 75648, "what fastface/detect/cuda asks for");

__device__ __forceinline__ unsigned int word(const unsigned char* p) { return *reinterpret_cast<const unsigned int*>(p); }

// Max of 3 x 3 pixels of two channels from (2 y, 2 x) on; pixels from `size` on do not take part.
__device__ __forceinline__ unsigned int pool3(const unsigned char* in, int row, int stride, int y, int x, int size) {
  __half2 best = *reinterpret_cast<const __half2*>(in + (2 * y * row + 2 * x) * stride);
#pragma unroll
  for (int dy = 0; dy < 3; ++dy)
#pragma unroll
    for (int dx = 0; dx < 3; ++dx)
      if (2 * y + dy < size && 2 * x + dx < size)
        best = __hmax2(best, *reinterpret_cast<const __half2*>(in + ((2 * y + dy) * row + 2 * x + dx) * stride));
  return *reinterpret_cast<const unsigned int*>(&best);
}

// Candidates as in rnet.cu. score [capacity] becomes 0 and box_out [capacity, 4] the square that was looked at; those whose
// logit of a face (over that of none) reaches `least` are appended to chosen [capacity], *chosen_count of them. Where more
// were kept than the capacity, nothing is done: the pass runs again with more.
extern "C" __global__ void __launch_bounds__(kThreads, 2)
    rscan(const uint4* data, int height, int width, int groups, const int* kept, const int* kept_frame, const int* total,
          int capacity, const float* box, const float* offsets, const RScanWeights* w, float least, float* box_out,
          float* score, int* chosen, int* chosen_count) {
  extern __shared__ __align__(16) unsigned char shared[];
  __shared__ float partial[6][kItems];
  __shared__ int rects[kItems][4], frame_of[kItems];  // an empty rectangle: nothing of the square is in the frame
  unsigned char* const wide = shared + kWide;
  unsigned char* const pooled = shared + kPooled;
  unsigned char* const small = shared + kSmall;
  unsigned char* const features = shared + kFeatures;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  const Quads quads{data, height, groups};
  const int count = *total <= capacity ? *total : 0;

  // What is never written must be finite, for it meets weights of zero.
  for (int i = threadIdx.x; i < (kFeatures + kItems * kFeatureStride) / 4; i += kThreads)
    reinterpret_cast<unsigned int*>(shared)[i] = 0;
  const int pair = warp % 3, share = warp / 3;
  uint2 second[9][2][2];
#pragma unroll
  for (int k = 0; k < 9; ++k)
#pragma unroll
    for (int s = 0; s < 2; ++s)
#pragma unroll
      for (int j = 0; j < 2; ++j) second[k][s][j] = w->second[k][s][2 * pair + j][lane];
  __syncthreads();

  for (int begin = blockIdx.x * kItems; begin < count; begin += gridDim.x * kItems) {
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
      if (apart && across > 0) {
        const int inverse = (65535 + reach) / reach;
        for (int k = threadIdx.x; k < kSide * reach; k += kThreads) {
          const int row = k * inverse >> 16, ys = windows[kSide + row], group = first + k - row * reach;
          column_sums(quads.row(frame_of[item], window_begin(ys)) + group, groups, window_end(ys) - window_begin(ys),
                      reinterpret_cast<uint4*>(wide) + 2 * k);
        }
        __syncthreads();
      }
      for (int p = threadIdx.x; p < kSide * kSide; p += kThreads) {
        float mean[3] = {127.5f, 127.5f, 127.5f};
        if (across > 0) {
          const unsigned int xs = windows[p % kSide], ys = windows[kSide + p / kSide];
          unsigned int sum[3];
          if (apart) {
            const uint2* const columns = reinterpret_cast<const uint2*>(wide) + 4 * (p / kSide * reach - first);
            add_columns(columns + window_begin(xs), window_end(xs) - window_begin(xs), sum);
          } else {
            window_sum(quads, frame_of[item], xs, ys, sum);
          }
          rough_mean(xs, ys, sum, mean);
        }
        uint2 packed;
        packed.x = pack_half2(mtcnn_scale(mean[0]), mtcnn_scale(mean[1]));
        packed.y = pack_half2(mtcnn_scale(mean[2]), 0.0f);
        reinterpret_cast<uint2*>(shared)[p] = packed;
      }
      __syncthreads();

      {  // conv1, 3 to 28 channels
        uint2 first[3][4];
#pragma unroll
        for (int ky = 0; ky < 3; ++ky)
#pragma unroll
          for (int j = 0; j < 4; ++j) first[ky][j] = __ldg(&w->first[ky][j][lane]);
        for (int tile = warp; tile < kWidePixels / 16; tile += 6) {
          const int q = tile * 16 + g;
          float sum[4][4] = {};
#pragma unroll
          for (int ky = 0; ky < 3; ++ky) {
            const unsigned char* p = shared + (q + ky * 24) * 8 + 4 * t;
            const unsigned int a[4] = {word(p), word(p + 64), word(p + 16), word(p + 80)};
#pragma unroll
            for (int j = 0; j < 4; ++j) mma16816(sum[j], a, first[ky][j]);
          }
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            const int c = 8 * j + 2 * t;
            const float2 b = __ldg(reinterpret_cast<const float2*>(w->bias1 + c));
            const float2 s = __ldg(reinterpret_cast<const float2*>(w->slope1 + c));
#pragma unroll
            for (int half = 0; half < 2; ++half)
              if (c < 28)
                *reinterpret_cast<unsigned int*>(wide + (q + 8 * half) * kWideStride + 2 * c) =
                    pack_half2(prelu(sum[j][2 * half] + b.x, s.x), prelu(sum[j][2 * half + 1] + b.y, s.y));
          }
        }
      }
      __syncthreads();
      for (int p = threadIdx.x; p < 121 * 14; p += kThreads) {
        const int c = p % 14, y = p / 14 / 11, x = p / 14 % 11;
        *reinterpret_cast<unsigned int*>(pooled + (y * 12 + x) * kPooledStride + 4 * c) =
            pool3(wide + 4 * c, 24, kWideStride, y, x, 22);
      }
      __syncthreads();

      // conv2, 28 to 48 channels: a warp computes 16 of them
      for (int tile = share; tile < 7; tile += 2) {
        float sum[2][4] = {};
        const unsigned int address = shared_address(pooled) + (tile * 16 + (lane & 15)) * kPooledStride + (lane >> 4) * 16;
#pragma unroll
        for (int k = 0; k < 9; ++k)
#pragma unroll
          for (int s = 0; s < 2; ++s) {
            unsigned int a[4];
            load_matrix(a, address + (k / 3 * 12 + k % 3) * kPooledStride + s * 32);
            mma16816(sum[0], a, second[k][s][0]);
            mma16816(sum[1], a, second[k][s][1]);
          }
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const int c = 16 * pair + 8 * j + 2 * t;
          const float2 b = __ldg(reinterpret_cast<const float2*>(w->bias2 + c));
          const float2 s = __ldg(reinterpret_cast<const float2*>(w->slope2 + c));
#pragma unroll
          for (int half = 0; half < 2; ++half)
            *reinterpret_cast<unsigned int*>(wide + (tile * 16 + g + 8 * half) * kSmallStride + 2 * c) =
                pack_half2(prelu(sum[j][2 * half] + b.x, s.x), prelu(sum[j][2 * half + 1] + b.y, s.y));
        }
      }
      __syncthreads();
      for (int p = threadIdx.x; p < 16 * 24; p += kThreads) {
        const int c = p % 24, pixel = p / 24;
        *reinterpret_cast<unsigned int*>(small + pixel * kSmallStride + 4 * c) =
            pool3(wide + 4 * c, 12, kSmallStride, pixel / 4, pixel % 4, 9);
      }
      __syncthreads();

      // conv3, 48 to 64 channels
      for (int j = warp; j < 8; j += 6) {
        float sum[4] = {};
        const unsigned int address = shared_address(small) + (lane & 15) * kSmallStride + (lane >> 4) * 16;
#pragma unroll
        for (int k = 0; k < 4; ++k)
#pragma unroll
          for (int s = 0; s < 3; ++s) {
            unsigned int a[4];
            load_matrix(a, address + (k / 2 * 4 + k % 2) * kSmallStride + s * 32);
            mma16816(sum, a, __ldg(&w->third[k][s][j][lane]));
          }
        const int c = 8 * j + 2 * t;
        const float2 b = __ldg(reinterpret_cast<const float2*>(w->bias3 + c));
        const float2 s = __ldg(reinterpret_cast<const float2*>(w->slope3 + c));
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int q = g + 8 * half, y = q / 4, x = q % 4;
          if (y < 3 && x < 3)
            *reinterpret_cast<unsigned int*>(features + item * kFeatureStride + ((y * 3 + x) * 64 + c) * 2) =
                pack_half2(prelu(sum[2 * half] + b.x, s.x), prelu(sum[2 * half + 1] + b.y, s.y));
        }
      }
    }
    __syncthreads();

    // The fully connected layer of all 16, and the difference of the two logits.
    float logit[2] = {0.0f, 0.0f};
    for (int j = warp; j < 16; j += 6) {
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
      for (int k = 0; k < 6; ++k) v += partial[k][threadIdx.x];
      score[begin + threadIdx.x] = 0.0f;
      if (v >= least) chosen[atomicAdd(chosen_count, 1)] = begin + threadIdx.x;
    }
    __syncthreads();
  }
}

}  // namespace fastface
