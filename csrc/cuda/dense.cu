// The fully connected layers of R- and O-Net and what follows from them, for some candidates a block, in float32.
#include "activation.cuh"
#include "candidate.cuh"

namespace fastface {

// fastface/detect/cuda/weights.py packs the same structs.
template <int K, int N, int HEADS>
struct DenseWeights {
  float hidden[K][N], bias[N], slope[N], head[HEADS][N], head_bias[HEADS];
};
using RNetDense = DenseWeights<576, 128, 6>;    // two logits, four offsets
using ONetDense = DenseWeights<1152, 256, 16>;  // and ten landmarks: five x, five y

// Of ITEMS candidates a block, 8 or 16; SPLIT threads share the sums of 8 of them x 4 outputs. O-Net has few candidates:
// by 8 they are enough blocks for a large GPU.
template <int K, int N, int HEADS, int ITEMS, int SPLIT>
struct Dense {
  static constexpr int kItems = ITEMS;
  static constexpr int kStride = ITEMS + 4;  // of a row of inputs, padded against bank conflicts
  static constexpr int kThreads = N / 4 * (ITEMS / 8) * SPLIT;
  static constexpr int kShare = HEADS * ITEMS * 4 <= kThreads ? 4 : 2;  // threads that share a sum of a head
  static constexpr int kInputs = K * kStride, kSums = (SPLIT * N + N + 1) * ITEMS;
  static constexpr int kBytes = (kInputs > kSums ? kInputs : kSums) * 4;
  static_assert(ITEMS % 8 == 0 && K % SPLIT == 0 && kShare * HEADS * ITEMS <= kThreads, "");

  // in [count, K], rows `first` to `first` + ITEMS - 1; memory: kBytes; result in shared memory. Ends with a barrier.
  __device__ static void run(const float* __restrict__ in, int first, int count, const DenseWeights<K, N, HEADS>* w,
                             float* memory, float (*result)[HEADS]) {
    for (int i = threadIdx.x; i < ITEMS * K; i += kThreads) {
      const int item = i / K, k = i % K;
      memory[k * kStride + item] = first + item < count ? in[static_cast<long long>(first + item) * K + k] : 0.0f;
    }
    __syncthreads();
    const int n = threadIdx.x % (N / 4) * 4, eight = threadIdx.x / (N / 4) % (ITEMS / 8) * 8;
    const int split = threadIdx.x / (N / 4) / (ITEMS / 8);
    float sum[8][4] = {};
#pragma unroll 8
    for (int k = split * (K / SPLIT); k < (split + 1) * (K / SPLIT); ++k) {
      const float4 a = *reinterpret_cast<const float4*>(memory + k * kStride + eight);
      const float4 b = *reinterpret_cast<const float4*>(memory + k * kStride + eight + 4);
      const float4 v = __ldg(reinterpret_cast<const float4*>(&w->hidden[k][n]));
      const float x[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}, y[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int i = 0; i < 8; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[i][j] = fmaf(x[i], y[j], sum[i][j]);
    }
    __syncthreads();
    for (int i = 0; i < 8; ++i)
      *reinterpret_cast<float4*>(memory + (split * ITEMS + eight + i) * N + n) =
          make_float4(sum[i][0], sum[i][1], sum[i][2], sum[i][3]);
    __syncthreads();
    float* const hidden = memory + SPLIT * ITEMS * N;
    for (int i = threadIdx.x; i < ITEMS * N; i += kThreads) {
      float v = memory[i];
#pragma unroll
      for (int s = 1; s < SPLIT; ++s) v += memory[s * ITEMS * N + i];
      const int c = i % N;
      hidden[i / N * (N + 1) + c] = prelu(v + __ldg(w->bias + c), __ldg(w->slope + c));
    }
    __syncthreads();
    {
      // All lanes of a warp take part in what it adds up at the end.
      const int task = min(static_cast<int>(threadIdx.x) / kShare, ITEMS * HEADS - 1), share = threadIdx.x % kShare;
      const int item = task / HEADS, head = task % HEADS;
      float v = 0.0f;
#pragma unroll 8
      for (int c = share; c < N; c += kShare) v = fmaf(hidden[item * (N + 1) + c], __ldg(&w->head[head][c]), v);
      for (int step = kShare / 2; step > 0; step /= 2) v += __shfl_xor_sync(0xffffffffu, v, step);
      if (static_cast<int>(threadIdx.x) < kShare * ITEMS * HEADS && share == 0)
        result[item][head] = v + __ldg(w->head_bias + head);
    }
    __syncthreads();
  }
};
using RDense = Dense<576, 128, 6, 16, 4>;
using ODense = Dense<1152, 256, 16, 8, 8>;
static_assert(RDense::kThreads == 256 && RDense::kBytes == 46080 && ODense::kThreads == 512 && ODense::kBytes == 73760,
              "what fastface/detect/cuda asks for");

// Probability of a face; 0 where there was nothing to look at.
__device__ __forceinline__ float face_score(const float* logits, const float* box, int width, int height) {
  int rect[4];
  return pixel_rect(box, width, height, rect) ? 1.0f / (1.0f + expf(logits[0] - logits[1])) : 0.0f;
}

// Scores [capacity] and offsets [capacity, 4] of R-Net's candidates; features and chosen as rnet.cu has them.
extern "C" __global__ void __launch_bounds__(RDense::kThreads)
    rnet_dense(const float* features, const int* total, int capacity, const int* chosen, const int* chosen_count,
               int height, int width, const float* box, const RNetDense* w, float* score, float* offsets) {
  extern __shared__ __align__(16) float memory[];
  __shared__ float result[RDense::kItems][6];
  const int count = *total > capacity ? 0 : chosen ? *chosen_count : *total;
  for (int first = blockIdx.x * RDense::kItems; first < count; first += gridDim.x * RDense::kItems) {
    RDense::run(features, first, count, w, memory, result);
    if (threadIdx.x < RDense::kItems && first + static_cast<int>(threadIdx.x) < count) {
      const int i = chosen ? chosen[first + threadIdx.x] : first + threadIdx.x;
      const float* r = result[threadIdx.x];
      score[i] = face_score(r, box + 4ll * i, width, height);
      for (int c = 0; c < 4; ++c) offsets[4ll * i + c] = r[2 + c];
    }
  }
}

// Scores [capacity], refined boxes [capacity, 4] and landmarks [capacity, 5, 2] of O-Net's candidates, in pixels.
extern "C" __global__ void __launch_bounds__(ODense::kThreads)
    onet_dense(const float* features, const int* total, int capacity, int height, int width, const float* box,
               const ONetDense* w, float* score, float* refined, float* landmarks) {
  extern __shared__ __align__(16) float memory[];
  __shared__ float result[ODense::kItems][16];
  const int count = *total <= capacity ? *total : 0;
  for (int first = blockIdx.x * ODense::kItems; first < count; first += gridDim.x * ODense::kItems) {
    ODense::run(features, first, count, w, memory, result);
    const int i = first + threadIdx.x;
    if (threadIdx.x < ODense::kItems && i < count) {
      const float* r = result[threadIdx.x];
      const float* b = box + 4ll * i;
      score[i] = face_score(r, b, width, height);
      refine(b, r + 2, true, refined + 4ll * i);
      // Both end pixels of a side count, and pixels are counted from 1.
      const float side_x = b[2] - b[0] + 1.0f, side_y = b[3] - b[1] + 1.0f;
      for (int p = 0; p < 5; ++p) {
        landmarks[10ll * i + 2 * p] = r[6 + p] * side_x + b[0] - 1.0f;
        landmarks[10ll * i + 2 * p + 1] = r[11 + p] * side_y + b[1] - 1.0f;
      }
    }
  }
}

}  // namespace fastface
