// P-Net's cells over the threshold, appended to buffers of fixed capacity.
#include <cuda_fp16.h>

#ifndef OUT
#define OUT float
#endif

namespace fastface {

// heads [n, height, width, 6] of one level, channels last: logits of no face and of face, and four offsets. A cell whose face
// probability is >= threshold is appended to group frame * levels + level: box (as facenet-pytorch computes it, in
// whole pixels), score, offsets and tie (level << 26 | cell). count [n * levels] counts on beyond the capacity, so that
// an overflow shows; the order within a group is that of the atomics, and the suppression sorts it.
extern "C" __global__ void candidates(const OUT* heads, int n, int height, int width,
                                      float scale, float threshold, int levels, int level, int capacity, float* box,
                                      float* score, float* offsets, unsigned int* tie, int* count) {
  const int cells = height * width;
  for (long long i = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
       i < static_cast<long long>(n) * cells; i += static_cast<long long>(gridDim.x) * blockDim.x) {
    // Softmax of two, in float32 whatever the network computes in: half precision would make ties of scores.
    const float p = 1.0f / (1.0f + expf(static_cast<float>(heads[6 * i]) - static_cast<float>(heads[6 * i + 1])));
    if (!(p >= threshold)) continue;
    const int frame = static_cast<int>(i / cells), cell = static_cast<int>(i % cells);
    const int group = frame * levels + level;
    const int place = atomicAdd(count + group, 1);
    if (place >= capacity) continue;
    const long long at = static_cast<long long>(group) * capacity + place;
    const float x = static_cast<float>(cell % width), y = static_cast<float>(cell / width);
    // Divided, not multiplied by the inverse: another rounding would floor to other pixels.
    box[4 * at] = floorf(__fdiv_rn(2.0f * x + 1.0f, scale));
    box[4 * at + 1] = floorf(__fdiv_rn(2.0f * y + 1.0f, scale));
    box[4 * at + 2] = floorf(__fdiv_rn(2.0f * x + 12.0f, scale));
    box[4 * at + 3] = floorf(__fdiv_rn(2.0f * y + 12.0f, scale));
    score[at] = p;
    for (int c = 0; c < 4; ++c) offsets[4 * at + c] = static_cast<float>(heads[6 * i + 2 + c]);
    tie[at] = static_cast<unsigned int>(level) << 26 | static_cast<unsigned int>(cell);
  }
}

}  // namespace fastface
