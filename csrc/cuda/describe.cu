// Look and sharpness of each face, for tracking and for choosing the best faces; one block of 256 threads a face.
#include "frame.cuh"

namespace fastface {

constexpr int kFine = 64, kCoarse = 8, kBlock = kFine / kCoarse;

__device__ __forceinline__ float block_sum(float value, float* scratch) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  __syncthreads();
  if ((threadIdx.x & 31) == 0) scratch[threadIdx.x >> 5] = value;
  __syncthreads();
  float total = 0.0f;
  for (int i = 0; i < static_cast<int>(blockDim.x >> 5); ++i) total += scratch[i];
  return total;
}

// appearance [m, 64]: 8 x 8 grey thumbnail of zero mean and unit norm, zeros if flat; sharpness [m]: energy of the
// Laplacian over the variance at 64 x 64, 0 if flat. An empty rectangle gives zeros.
extern "C" __global__ void describe(const SAMPLE* data, const FrameGeometry* geometry, const long long* row, const int* rect, float* appearance,
                                    float* sharpness) {
  const FrameBatch frames(data, geometry);
  __shared__ float grey[kFine * kFine];
  __shared__ float scratch[32];
  const int i = blockIdx.x;
  const int x0 = rect[4 * i], y0 = rect[4 * i + 1], w = rect[4 * i + 2] - x0, h = rect[4 * i + 3] - y0;
  float* look = appearance + static_cast<long long>(i) * kCoarse * kCoarse;
  if (w <= 0 || h <= 0) {
    if (threadIdx.x < kCoarse * kCoarse) look[threadIdx.x] = 0.0f;
    if (threadIdx.x == 0) sharpness[i] = 0.0f;
    return;
  }
  for (int p = threadIdx.x; p < kFine * kFine; p += blockDim.x) {
    const int oy = p / kFine, ox = p % kFine;
    const int y1 = area_begin(oy, h, kFine), y2 = area_end(oy, h, kFine);
    const int x1 = area_begin(ox, w, kFine), x2 = area_end(ox, w, kFine);
    float mean[3];
    mean_rgb(frames, row[i], x0 + x1, x0 + x2, y0 + y1, y0 + y2, mean);
    grey[p] = luma(mean[0], mean[1], mean[2]);
  }
  __syncthreads();

  float cell = 0.0f;
  const bool mine = threadIdx.x < kCoarse * kCoarse;
  if (mine) {
    const int by = threadIdx.x / kCoarse * kBlock, bx = threadIdx.x % kCoarse * kBlock;
    for (int y = by; y < by + kBlock; ++y)
      for (int x = bx; x < bx + kBlock; ++x) cell += grey[y * kFine + x];
    cell /= kBlock * kBlock;
  }
  const float mean = block_sum(mine ? cell : 0.0f, scratch) / (kCoarse * kCoarse);
  const float centred = mine ? cell - mean : 0.0f;
  const float norm = sqrtf(block_sum(centred * centred, scratch));
  if (mine) look[threadIdx.x] = norm > 0.8f ? centred / norm : 0.0f;

  float energy = 0.0f, variance = 0.0f;
  for (int p = threadIdx.x; p < (kFine - 2) * (kFine - 2); p += blockDim.x) {
    const float* g = grey + (p / (kFine - 2) + 1) * kFine + p % (kFine - 2) + 1;
    const float lap = 4.0f * g[0] - g[-1] - g[1] - g[-kFine] - g[kFine];
    energy += lap * lap;
    variance += (g[0] - mean) * (g[0] - mean);
  }
  energy = block_sum(energy, scratch);
  variance = block_sum(variance, scratch);
  const float inner = (kFine - 2) * (kFine - 2);
  if (threadIdx.x == 0) sharpness[i] = variance / inner > 0.25f ? energy / variance : 0.0f;
}

}  // namespace fastface
