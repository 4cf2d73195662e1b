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

// Begins the sums of channels c and c + 1 of two pixels with their biases, which are at `bias`.
__device__ __forceinline__ void begin_sum(float (&sum)[4], const float* bias) {
  const float2 b = __ldg(reinterpret_cast<const float2*>(bias));
  sum[0] = sum[2] = b.x;
  sum[1] = sum[3] = b.y;
}

// Two channels of a pixel.
__device__ __forceinline__ unsigned int activated(const float* sum, __half2 slope) {
  return bits(prelu2(__floats2half2_rn(sum[0], sum[1]), slope));
}

// Max of 3 x 3 pixels of four channels from (2 y, 2 x) on; those beyond the last pixel are the last once more.
__device__ __forceinline__ uint2 pool3(const unsigned char* in, int row, int stride, int y, int x, int size) {
  const int down[3] = {2 * y, 2 * y + 1, min(2 * y + 2, size - 1)},
            across[3] = {2 * x, 2 * x + 1, min(2 * x + 2, size - 1)};
  __half2 best[2];
#pragma unroll
  for (int k = 0; k < 9; ++k) {
    const uint2 both = *reinterpret_cast<const uint2*>(in + (down[k / 3] * row + across[k % 3]) * stride);
    const __half2 a = *reinterpret_cast<const __half2*>(&both.x), b = *reinterpret_cast<const __half2*>(&both.y);
    best[0] = k ? __hmax2(best[0], a) : a;
    best[1] = k ? __hmax2(best[1], b) : b;
  }
  uint2 out;
  out.x = bits(best[0]);
  out.y = bits(best[1]);
  return out;
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
        __half2 slope[4];
#pragma unroll
        for (int j = 0; j < 4; ++j)
          slope[j] = __floats2half2_rn(__ldg(w->slope1 + 8 * j + 2 * t), __ldg(w->slope1 + 8 * j + 2 * t + 1));
        for (int tile = warp; tile < kWidePixels / 16; tile += 6) {
          const int q = tile * 16 + g;
          float sum[4][4];
#pragma unroll
          for (int j = 0; j < 4; ++j) begin_sum(sum[j], w->bias1 + 8 * j + 2 * t);
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
#pragma unroll
            for (int half = 0; half < 2; ++half)
              if (c < 28)
                *reinterpret_cast<unsigned int*>(wide + (q + 8 * half) * kWideStride + 2 * c) =
                    activated(sum[j] + 2 * half, slope[j]);
          }
        }
      }
      __syncthreads();
      for (int p = threadIdx.x; p < 121 * 7; p += kThreads) {
        const int c = p % 7, y = p / 7 / 11, x = p / 7 % 11;
        *reinterpret_cast<uint2*>(pooled + (y * 12 + x) * kPooledStride + 8 * c) =
            pool3(wide + 8 * c, 24, kWideStride, y, x, 22);
      }
      __syncthreads();

      // conv2, 28 to 48 channels: a warp computes 16 of them
      for (int tile = share; tile < 7; tile += 2) {
        float sum[2][4];
#pragma unroll
        for (int j = 0; j < 2; ++j) begin_sum(sum[j], w->bias2 + 16 * pair + 8 * j + 2 * t);
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
          const __half2 slope = __floats2half2_rn(__ldg(w->slope2 + c), __ldg(w->slope2 + c + 1));
#pragma unroll
          for (int half = 0; half < 2; ++half)
            *reinterpret_cast<unsigned int*>(wide + (tile * 16 + g + 8 * half) * kSmallStride + 2 * c) =
                activated(sum[j] + 2 * half, slope);
        }
      }
      __syncthreads();
      static_assert(kThreads == 16 * 12, "a thread a pixel and four channels");
      {
        const int c = threadIdx.x % 12, pixel = threadIdx.x / 12;
        *reinterpret_cast<uint2*>(small + pixel * kSmallStride + 8 * c) =
            pool3(wide + 8 * c, 12, kSmallStride, pixel / 4, pixel % 4, 9);
      }
      __syncthreads();

      // conv3, 48 to 64 channels
      for (int j = warp; j < 8; j += 6) {
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
        const __half2 slope = __floats2half2_rn(__ldg(w->slope3 + c), __ldg(w->slope3 + c + 1));
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int q = g + 8 * half, y = q / 4, x = q % 4;
          if (y < 3 && x < 3)
            *reinterpret_cast<unsigned int*>(features + item * kFeatureStride + ((y * 3 + x) * 64 + c) * 2) =
                activated(sum + 2 * half, slope);
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
