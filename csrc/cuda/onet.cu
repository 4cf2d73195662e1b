// O-Net up to its fully connected layers, from the frames: one block a candidate, all of it in shared memory, in float32.
#include "candidate.cuh"
#include "conv.cuh"

namespace fastface {

// fastface/detect/cuda/weights.py packs the same struct.
struct ONetWeights {
  float conv1[27][32], conv2[288][64], conv3[576][64], conv4[256][128];
  float bias1[32], slope1[32], bias2[64], slope2[64], bias3[64], slope3[64], bias4[128], slope4[128];
};

constexpr int kFeatures = 1152;  // [128][3][3]
constexpr int kPooled = 32 * 23 * 23, kCrop = 3 * 48 * 48, kWide = 64 * 21 * 21;
constexpr int kStrip = 4;  // pooled rows that the first layer computes at once: 46 x 46 x 32 does not fit
static_assert(32 * (2 * kStrip + 1) * 46 <= kWide && 64 * 10 * 10 + 64 * 8 * 8 <= kPooled, "");
static_assert(4 * 128 * 3 * 3 <= kWide && 2 * 64 * 8 * 8 <= kWide && 64 * 4 * 4 <= kCrop, "");
static_assert((kPooled + kCrop + kWide) * 4 == 208256, "what fastface/detect/cuda asks for");

// features [capacity, 1152], box_out [capacity, 4]: the square that was looked at. Where more were kept than the
// capacity, nothing is done: the pass runs again with more.
extern "C" __global__ void __launch_bounds__(512, 1)
    onet(const SAMPLE* data, const FrameGeometry* geometry, const int* kept, const int* kept_frame, const int* total,
         int capacity, const float* box, const float* offsets, const ONetWeights* w, float* box_out, float* features) {
  extern __shared__ __align__(16) float memory[];
  float* const wide = memory;
  float* const pooled = memory + kWide;
  float* const crop = pooled + kPooled;
  const FrameBatch frames(data, geometry);
  const Kept items{kept, kept_frame};
  const int count = *total <= capacity ? *total : 0;
  for (int i = blockIdx.x; i < count; i += gridDim.x) {
    load_candidate<48>(frames, items, i, box, offsets, true, box_out, crop);
    for (int row = 0; row < 23; row += kStrip) {
      const int rows = min(2 * kStrip + 1, 46 - 2 * row);
      convolve<3, 32, 3, 48, 8, 4, 1>(crop + 2 * row * 48, 48, rows, w->conv1[0], w->bias1, w->slope1, wide, nullptr);
      pool<3>(wide, 32, rows, 46, min(kStrip, 23 - row), pooled, 23, 23, row);
    }
    convolve<32, 64, 3, 23, 7, 8, 1>(pooled, 23, 21, w->conv2[0], w->bias2, w->slope2, wide, nullptr);
    pool<3>(wide, 64, 21, 21, 10, pooled, 10, 10, 0);
    float* const third = pooled + 64 * 10 * 10;
    convolve<64, 64, 3, 10, 4, 4, 2>(pooled, 10, 8, w->conv3[0], w->bias3, w->slope3, third, wide);
    pool<2>(third, 64, 8, 8, 4, crop, 4, 4, 0);
    convolve<64, 128, 2, 4, 3, 4, 4>(crop, 4, 3, w->conv4[0], w->bias4, w->slope4, features + static_cast<long long>(i) * kFeatures,
                                     wide);
  }
}

}  // namespace fastface
