// R-Net up to its fully connected layers, from the frames: one block a candidate, all of it in shared memory, in float32's
// precision (split.cuh).
#include "candidate.cuh"
#include "split.cuh"

namespace fastface {

// The weights as lanes hold them; fastface/detect/cuda/weights.py packs the same struct. conv1's 28 channels are padded
// to 32.
struct RNetWeights {
  uint4 first[2][3][4][32];  // conv1: [dx][ky][8 channels], of the first or the last 3 of 4 pixels of 4 colours
  uint4 second[18][6][32];   // conv2: [(ky * 3 + kx) * 2 + 16 inputs][8 channels]
  uint4 third[12][8][32];    // conv3: [(ky * 2 + kx) * 3 + 16 inputs][8 channels]
  float unscale[4];          // of each layer's sums
  float bias1[32], slope1[32], bias2[48], slope2[48], bias3[64], slope3[64];
};

constexpr int kWarps = 4, kThreads = 32 * kWarps, kFeatures = 576;  // [64][3][3]
// Bytes: the tensors that are convolved, of 11 x 11 and 4 x 4 pixels, begin at 0. conv2's output takes the place of the
// crop.
constexpr int kCrop = 17408, kSecond = kCrop;
static_assert((6 * 16 + 15 + 2 * 11 + 2 + 1) * 128 <= kCrop, "what tiles read beyond the last pooled row");
static_assert(kCropBytes<24> <= 97 * 64 * 4 && kSecond + 97 * 64 * 4 == 42240, "what fastface/detect/cuda asks for");

// conv2, 28 to 48 channels: M of the warp's tiles, 2 apart, to `out` [pixel, in rows of 11][64].
template <int M>
__device__ __forceinline__ void second_layer(unsigned int in, float* out, const RNetWeights* w) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, group = warp / 2 * 3, first = 16 * (warp & 1);
  float sum[M][3][4] = {};
  convolve<3, 11, 2, 128, 32>(sum, in, first, w->second, group, 0, 18);
  const float unscale = __ldg(w->unscale + 1);
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int q = first + 32 * m + 8 * half + (lane >> 2);
      if (q < 97 && q % 11 < 9)
#pragma unroll
        for (int j = 0; j < 3; ++j) {
          const int c = 8 * (group + j) + 2 * (lane & 3);
          *place<64>(out, q, c) = activate(sum[m][j][2 * half], sum[m][j][2 * half + 1], unscale, w->bias2, w->slope2, c);
        }
    }
}

// Of the *total candidates, those in chosen [*chosen_count] (all where that is null): features [capacity, 576] in their
// order, box_out [capacity, 4]: the square that was looked at. Where more were kept than the capacity, nothing is done: the
// pass runs again with more. *begun: see begin_with.
extern "C" __global__ void __launch_bounds__(kThreads, 4)
    rnet(const uint4* data, int height, int width, int groups, const int* kept, const int* kept_frame, const int* total,
         int capacity, const int* chosen, const int* chosen_count, const float* box, const float* offsets,
         const RNetWeights* w, float* box_out, float* features, int* begun) {
  extern __shared__ __align__(16) unsigned char shared[];
  float* const second = reinterpret_cast<float*>(shared + kSecond);
  const unsigned int in = shared_address(shared);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  const Quads quads{data, height, groups};
  const Kept items{kept, kept_frame};
  const int count = *total > capacity ? 0 : chosen ? *chosen_count : *total;
  for (int i; (i = begin_with(begun, 1)) < count;) {
    load_candidate<24, kCrop>(quads, width, items, chosen ? chosen[i] : i, box, offsets, false, box_out, shared,
                              [&](int p, const float* rgb) { put_crop<24>(shared + kCrop, p, rgb); });
    first_layer<24, kWarps>(shared + kCrop, shared, w->first, __ldg(w->unscale), w->bias1, w->slope1);
    if (warp & 1)
      second_layer<3>(in, second, w);
    else
      second_layer<4>(in, second, w);
    __syncthreads();
    for (int task = threadIdx.x; task < 16 * 24; task += kThreads) {  // pooling by 3 x 3, 2 apart, to 4 x 4
      const int pair = task % 24, pixel = task / 24, from = pixel / 4 * 22 + pixel % 4 * 2;
      float2 best = *place<64>(second, from, 2 * pair);
#pragma unroll
      for (int k = 1; k < 9; ++k) best = max2(best, *place<64>(second, from + k / 3 * 11 + k % 3, 2 * pair));
      put<256>(shared, pixel, pair, best);
    }
    __syncthreads();

    {  // conv3, 48 to 64 channels, 3 x 3 in rows of 4
      float sum[1][2][4] = {};
      convolve<2, 4, 3, 256, 16>(sum, in, 0, w->third, 2 * warp, 0, 12);
      const float unscale = __ldg(w->unscale + 2);
      float* const out = features + static_cast<long long>(i) * kFeatures;
#pragma unroll
      for (int j = 0; j < 2; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int c = 16 * warp + 8 * j + 2 * t, q = g + 8 * half, y = q / 4, x = q % 4;
          if (y < 3 && x < 3) {
            const float2 v = activate(sum[0][j][2 * half], sum[0][j][2 * half + 1], unscale, w->bias3, w->slope3, c);
            out[c * 9 + y * 3 + x] = v.x;
            out[(c + 1) * 9 + y * 3 + x] = v.y;
          }
        }
    }
  }
}

}  // namespace fastface
