// The fully connected layers of R- and O-Net and what follows from them, for 16 candidates a block, in float32.
#include "activation.cuh"
#include "candidate.cuh"

namespace fastface {

constexpr int kItems = 16, kItemStride = 20;  // of a row of inputs: 16 items, padded against bank conflicts
constexpr int kThreads = 256;

// fastface/detect/cuda/weights.py packs the same structs.
template <int K, int N, int HEADS>
struct DenseWeights {
  float hidden[K][N], bias[N], slope[N], head[HEADS][N], head_bias[HEADS];
};
using RNetDense = DenseWeights<576, 128, 6>;    // two logits, four offsets
using ONetDense = DenseWeights<1152, 256, 16>;  // and ten landmarks: five x, five y

// in [count, K], rows `first` to `first` + 15; result [16][HEADS] in shared memory. SPLIT threads share the sums of 8 items
// x 4 outputs. Shared memory: 16 * max(K * 5 / 4, SPLIT * N + N + 1) floats. Ends with a barrier.
template <int K, int N, int HEADS, int SPLIT>
__device__ void dense(const float* __restrict__ in, int first, int count, const DenseWeights<K, N, HEADS>* w, float* memory,
                      float (*result)[HEADS]) {
  static_assert(N / 4 * 2 * SPLIT == kThreads && K % SPLIT == 0 && kItems * HEADS <= kThreads, "");
  for (int i = threadIdx.x; i < kItems * K; i += kThreads) {
    const int item = i / K, k = i % K;
    memory[k * kItemStride + item] = first + item < count ? in[static_cast<long long>(first + item) * K + k] : 0.0f;
  }
  __syncthreads();
  const int n = threadIdx.x % (N / 4) * 4, half = threadIdx.x / (N / 4) % 2, split = threadIdx.x / (N / 4) / 2;
  float sum[8][4] = {};
#pragma unroll 4
  for (int k = split * (K / SPLIT); k < (split + 1) * (K / SPLIT); ++k) {
    const float4 a = *reinterpret_cast<const float4*>(memory + k * kItemStride + 8 * half);
    const float4 b = *reinterpret_cast<const float4*>(memory + k * kItemStride + 8 * half + 4);
    const float4 v = __ldg(reinterpret_cast<const float4*>(&w->hidden[k][n]));
    const float x[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}, y[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 8; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) sum[i][j] = fmaf(x[i], y[j], sum[i][j]);
  }
  __syncthreads();
  for (int i = 0; i < 8; ++i)
    for (int j = 0; j < 4; ++j) memory[(split * kItems + 8 * half + i) * N + n + j] = sum[i][j];
  __syncthreads();
  float* const hidden = memory + SPLIT * kItems * N;
  for (int i = threadIdx.x; i < kItems * N; i += kThreads) {
    float v = memory[i];
    for (int s = 1; s < SPLIT; ++s) v += memory[s * kItems * N + i];
    const int c = i % N;
    hidden[i / N * (N + 1) + c] = prelu(v + __ldg(w->bias + c), __ldg(w->slope + c));
  }
  __syncthreads();
  if (threadIdx.x < kItems * HEADS) {
    const int item = threadIdx.x / HEADS, head = threadIdx.x % HEADS;
    float v = 0.0f;
    for (int c = 0; c < N; ++c) v = fmaf(hidden[item * (N + 1) + c], __ldg(&w->head[head][c]), v);
    result[item][head] = v + __ldg(w->head_bias + head);
  }
  __syncthreads();
}

// Probability of a face; 0 where there was nothing to look at.
__device__ __forceinline__ float face_score(const float* logits, const float* box, int width, int height) {
  int rect[4];
  return pixel_rect(box, width, height, rect) ? 1.0f / (1.0f + expf(logits[0] - logits[1])) : 0.0f;
}

// Scores [capacity] and offsets [capacity, 4] of R-Net's candidates; features and chosen as rnet.cu has them.
extern "C" __global__ void __launch_bounds__(kThreads)
    rnet_dense(const float* features, const int* total, int capacity, const int* chosen, const int* chosen_count,
               int height, int width, const float* box, const RNetDense* w, float* score, float* offsets) {
  extern __shared__ __align__(16) float memory[];
  __shared__ float result[kItems][6];
  const int count = *total > capacity ? 0 : chosen ? *chosen_count : *total;
  for (int first = blockIdx.x * kItems; first < count; first += gridDim.x * kItems) {
    dense<576, 128, 6, 4>(features, first, count, w, memory, result);
    if (threadIdx.x < kItems && first + static_cast<int>(threadIdx.x) < count) {
      const int i = chosen ? chosen[first + threadIdx.x] : first + threadIdx.x;
      const float* r = result[threadIdx.x];
      score[i] = face_score(r, box + 4ll * i, width, height);
      for (int c = 0; c < 4; ++c) offsets[4ll * i + c] = r[2 + c];
    }
  }
}

// Scores [capacity], refined boxes [capacity, 4] and landmarks [capacity, 5, 2] of O-Net's candidates, in pixels.
extern "C" __global__ void __launch_bounds__(kThreads)
    onet_dense(const float* features, const int* total, int capacity, int height, int width, const float* box,
               const ONetDense* w, float* score, float* refined, float* landmarks) {
  extern __shared__ __align__(16) float memory[];
  __shared__ float result[kItems][16];
  const int count = *total <= capacity ? *total : 0;
  for (int first = blockIdx.x * kItems; first < count; first += gridDim.x * kItems) {
    dense<1152, 256, 16, 2>(features, first, count, w, memory, result);
    const int i = first + threadIdx.x;
    if (threadIdx.x < kItems && i < count) {
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
