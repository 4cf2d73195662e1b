// Look and sharpness of each face, for tracking and for choosing the best faces; one block of 256 threads a face.
#include "common/geometry.h"
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

// Look [64] and sharpness of the pixels of a rectangle of a frame. look: 8 x 8 grey thumbnail of zero mean and unit norm,
// zeros if flat; sharpness: energy of the Laplacian over the variance at 64 x 64, 0 if flat. No pixels give zeros.
__device__ void describe_rect(const FrameBatch& frames, long long frame, const int* rect, float* look, float* sharpness) {
  __shared__ float grey[kFine * kFine];
  __shared__ float scratch[32];
  const int x0 = rect[0], y0 = rect[1], w = rect[2] - x0, h = rect[3] - y0;
  if (w <= 0 || h <= 0) {
    if (threadIdx.x < kCoarse * kCoarse) look[threadIdx.x] = 0.0f;
    if (threadIdx.x == 0) *sharpness = 0.0f;
    return;
  }
  for (int p = threadIdx.x; p < kFine * kFine; p += blockDim.x) {
    const int oy = p / kFine, ox = p % kFine;
    const int y1 = area_begin(oy, h, kFine), y2 = area_end(oy, h, kFine);
    const int x1 = area_begin(ox, w, kFine), x2 = area_end(ox, w, kFine);
    float mean[3];
    mean_rgb(frames, frame, x0 + x1, x0 + x2, y0 + y1, y0 + y2, mean);
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
  if (threadIdx.x == 0) *sharpness = variance / inner > 0.25f ? energy / variance : 0.0f;
}

// appearance [m, 64] and sharpness [m] of rectangles rect [m, 4] of frames row [m].
extern "C" __global__ void describe(const SAMPLE* data, const FrameGeometry* geometry, const long long* row,
                                    const int* rect, float* appearance, float* sharpness) {
  const FrameBatch frames(data, geometry);
  const int i = blockIdx.x;
  describe_rect(frames, row[i], rect + 4 * i, appearance + static_cast<long long>(i) * kCoarse * kCoarse, sharpness + i);
}

// The cascade's result: record i [81] is frame, box, score, five landmarks, sharpness and look of item kept[i]; not more
// than `capacity`.
extern "C" __global__ void record_faces(const SAMPLE* data, const FrameGeometry* geometry, const int* kept,
                                        const int* kept_frame, const int* total, int capacity, const float* box,
                                        const float* score, const float* landmarks, float* out) {
  const FrameBatch frames(data, geometry);
  const int count = *total <= capacity ? *total : 0;
  for (int i = blockIdx.x; i < count; i += gridDim.x) {
    const int item = kept[i];
    float* record = out + static_cast<long long>(i) * 81;
    if (threadIdx.x == 0) record[0] = static_cast<float>(kept_frame[i]);
    if (threadIdx.x < 4) record[1 + threadIdx.x] = box[4ll * item + threadIdx.x];
    if (threadIdx.x == 4) record[5] = score[item];
    if (threadIdx.x < 10) record[6 + threadIdx.x] = landmarks[10ll * item + threadIdx.x];
    int rect[4];
    pixel_rect(box + 4ll * item, frames.width, frames.height, rect);
    describe_rect(frames, kept_frame[i], rect, record + 17, record + 16);
    __syncthreads();
  }
}

// The same by frame, for other programs: count [n], box [n, most, 4], score [n, most], landmarks [n, most, 5, 2], zeros
// beyond the count. *overflow becomes 1 if a frame has more than `most` faces, or if one of facts [first, last) (what did
// not fit in the stages before) is set. One block a frame.
extern "C" __global__ void faces_by_frame(const int* kept, const int* start, const int* found, const int* facts, int first,
                                          int last, const float* box, const float* score, const float* landmarks, int most,
                                          int* count_out, float* box_out, float* score_out, float* landmarks_out,
                                          int* overflow) {
  const int frame = blockIdx.x, n = found[frame];
  if (threadIdx.x == 0) {
    count_out[frame] = n;
    bool failed = n > most;
    for (int i = first; i < last; ++i) failed |= facts[i] != 0;
    if (failed) *overflow = 1;
  }
  for (int i = threadIdx.x; i < most; i += blockDim.x) {
    const long long at = static_cast<long long>(frame) * most + i;
    const int item = i < n ? kept[start[frame] + i] : -1;
    for (int c = 0; c < 4; ++c) box_out[4 * at + c] = item < 0 ? 0.0f : box[4ll * item + c];
    score_out[at] = item < 0 ? 0.0f : score[item];
    for (int c = 0; c < 10; ++c) landmarks_out[10 * at + c] = item < 0 ? 0.0f : landmarks[10ll * item + c];
  }
}

}  // namespace fastface
