// R-Net up to its fully connected layers, from the frames: one block a candidate, all of it in shared memory, in float32.
#include "candidate.cuh"
#include "conv.cuh"

namespace fastface {

// fastface/detect/cuda/weights.py packs the same struct.
struct RNetWeights {
  float conv1[27][28], conv2[252][48], conv3[192][64];
  float bias1[28], slope1[28], bias2[48], slope2[48], bias3[64], slope3[64];
};

constexpr int kFeatures = 576;  // [64][3][3]
constexpr int kPooled = 28 * 11 * 11, kCrop = 3 * 24 * 24, kWide = 28 * 22 * 22;
static_assert((kPooled + kCrop + kWide) * 4 == 74672, "what fastface/detect/cuda asks for");

// Of the *total candidates, those in chosen [*chosen_count] (all where that is null): features [capacity, 576] in their
// order, box_out [capacity, 4]: the square that was looked at. Where more were kept than the
// capacity, nothing is done: the pass runs again with more.
extern "C" __global__ void __launch_bounds__(352, 2)
    rnet(const SAMPLE* data, const FrameGeometry* geometry, const int* kept, const int* kept_frame, const int* total,
         int capacity, const int* chosen, const int* chosen_count, const float* box, const float* offsets,
         const RNetWeights* w, float* box_out, float* features) {
  extern __shared__ __align__(16) float memory[];
  float* const wide = memory;
  float* const pooled = memory + kWide;
  float* const crop = pooled + kPooled;
  const FrameBatch frames(data, geometry);
  const Kept items{kept, kept_frame};
  const int count = *total > capacity ? 0 : chosen ? *chosen_count : *total;
  for (int i = blockIdx.x; i < count; i += gridDim.x) {
    load_candidate<24>(frames, items, chosen ? chosen[i] : i, box, offsets, false, box_out, crop);
    convolve<3, 28, 3, 24, 11, 4, 1>(crop, 24, 22, w->conv1[0], w->bias1, w->slope1, wide, nullptr);
    pool<3>(wide, 28, 22, 22, 11, pooled, 11, 11, 0);
    convolve<28, 48, 3, 11, 3, 4, 1>(pooled, 11, 9, w->conv2[0], w->bias2, w->slope2, wide, nullptr);
    pool<3>(wide, 48, 9, 9, 4, pooled, 4, 4, 0);
    convolve<48, 64, 2, 4, 3, 4, 6>(pooled, 4, 3, w->conv3[0], w->bias3, w->slope3, features + static_cast<long long>(i) * kFeatures,
                                    wide);
  }
}

}  // namespace fastface
