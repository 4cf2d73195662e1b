// O-Net up to its fully connected layers, from the frames: one block a candidate, all of it in shared memory, in float32's
// precision (split.cuh).
#include "candidate.cuh"
#include "split.cuh"

namespace fastface {

// The weights as lanes hold them; fastface/detect/cuda/weights.py packs the same struct.
struct ONetWeights {
  uint4 first[2][3][4][32];  // conv1: [dx][ky][8 channels], of the first or the last 3 of 4 pixels of 4 colours
  uint4 second[18][8][32];   // conv2: [(ky * 3 + kx) * 2 + 16 inputs][8 channels]
  uint4 third[36][8][32];    // conv3: [(ky * 3 + kx) * 4 + 16 inputs][8 channels]
  uint4 fourth[16][16][32];  // conv4: [(ky * 2 + kx) * 4 + 16 inputs][8 channels]
  float unscale[4];          // of each layer's sums
  float bias1[32], slope1[32], bias2[64], slope2[64], bias3[64], slope3[64], bias4[128], slope4[128];
};

constexpr int kWarps = 8, kThreads = 32 * kWarps, kFeatures = 1152;  // [128][3][3]
constexpr int kRingRows = 5;  // conv2 gives a few rows at a time, which are pooled; the last of them is kept for the next
// Bytes: the tensors that are convolved, of 23 x 23, 10 x 10 and 4 x 4 pixels, begin at 0, and each takes the place of the
// one before. The last two rows of the first lie over the crop's first five; conv2's rows follow it, conv3's output the
// second. kSpare: what load_candidate may divide, before the crop.
constexpr int kCrop = 64256, kRing = 69632, kThird = 32768, kSpare = 33280;
static_assert(kSpare <= kCrop, "");
static_assert(21 * 23 * 128 <= kCrop && 23 * 23 * 128 <= kCrop + 5 * 768, "what first_layer allows");
static_assert((31 * 16 + 2 * 23 + 2) * 128 <= kRing, "what tiles read beyond the last pooled row");
static_assert((79 + 2 * 10 + 2 + 1) * 256 <= kThird && kThird + 80 * 64 * 4 <= kRing, "");
static_assert(kRing + kRingRows * 23 * 64 * 4 <= kCrop + kCropBytes<48> && kCrop + kCropBytes<48> == 101120,
              "what fastface/detect/cuda asks for");

// conv2 of a strip: M of the warp's tiles, 2 apart, to `ring` [kRingRows][23][64].
template <int M>
__device__ __forceinline__ void second_layer(unsigned int in, float* ring, const ONetWeights* w, int begin, int rows) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, group = warp / 2 * 2, first = 16 * (warp & 1);
  float sum[M][2][4] = {};
  convolve<3, 23, 2, 128, 32>(sum, in, begin * 23 + first, w->second, group, 0, 18);
  const float unscale = __ldg(w->unscale + 1);
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int q = first + 32 * m + 8 * half + (lane >> 2), row = q / 23, x = q % 23;
      if (row < rows && x < 21)
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const int c = 8 * (group + j) + 2 * (lane & 3);
          *place<64>(ring, (begin + row) % kRingRows * 23 + x, c) =
              activate(sum[m][j][2 * half], sum[m][j][2 * half + 1], unscale, w->bias2, w->slope2, c);
        }
    }
}

// features [capacity, 1152], box_out [capacity, 4]: the square that was looked at. Where more were kept than the
// capacity, nothing is done: the pass runs again with more. *begun: see begin_with.
extern "C" __global__ void __launch_bounds__(kThreads, 2)
    onet(const uint4* data, int height, int width, int groups, const int* kept, const int* kept_frame, const int* total,
         int capacity, const float* box, const float* offsets, const ONetWeights* w, float* box_out, float* features,
         int* begun) {
  extern __shared__ __align__(16) unsigned char shared[];
  float* const ring = reinterpret_cast<float*>(shared + kRing);
  float* const third = reinterpret_cast<float*>(shared + kThird);
  const unsigned int in = shared_address(shared);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  const Quads quads{data, height, groups};
  const Kept items{kept, kept_frame};
  const int count = *total <= capacity ? *total : 0;
  for (int i; (i = begin_with(begun, 1)) < count;) {
    load_candidate<48, kSpare>(quads, width, items, i, box, offsets, true, box_out, shared,
                               [&](int p, const float* rgb) { put_crop<48>(shared + kCrop, p, rgb); });
    first_layer<48, kWarps>(shared + kCrop, shared, w->first, __ldg(w->unscale), w->bias1, w->slope1);

    // conv2, 32 to 64 channels, 21 x 21, and its pooling to 10 x 10, a few rows at a time
    for (int strip = 0; strip < 5; ++strip) {
      if (strip == 0)
        second_layer<4>(in, ring, w, 0, 5);
      else
        second_layer<3>(in, ring, w, 4 * strip + 1, 4);
      __syncthreads();
      for (int task = threadIdx.x; task < 2 * 10 * 32; task += kThreads) {
        const int pair = task % 32, x = task / 32 % 10, y = 2 * strip + task / 320;
        float2 best = *place<64>(ring, 2 * y % kRingRows * 23 + 2 * x, 2 * pair);
#pragma unroll
        for (int k = 1; k < 9; ++k)
          best = max2(best, *place<64>(ring, (2 * y + k / 3) % kRingRows * 23 + 2 * x + k % 3, 2 * pair));
        put<256>(shared, y * 10 + x, pair, best);
      }
      __syncthreads();
    }

    {  // conv3, 64 to 64 channels, 8 x 8 in rows of 10: half of the warps sum up the second half of the products
      const int group = 2 * (warp & 3), share = warp >> 2;
      float sum[5][2][4] = {};
      convolve<3, 10, 4, 256, 16>(sum, in, 0, w->third, group, 18 * share, 18 * share + 18);
      const float unscale = __ldg(w->unscale + 2);
#pragma unroll
      for (int pass = 1; pass >= 0; --pass) {
        if (share == pass)
#pragma unroll
          for (int m = 0; m < 5; ++m)
#pragma unroll
            for (int j = 0; j < 2; ++j)
#pragma unroll
              for (int half = 0; half < 2; ++half) {
                const int c = 8 * (group + j) + 2 * t;
                float2* const to = place<64>(third, 16 * m + 8 * half + g, c);
                float2 v = make_float2(sum[m][j][2 * half], sum[m][j][2 * half + 1]);
                if (pass == 0) v = activate(v.x + to->x, v.y + to->y, unscale, w->bias3, w->slope3, c);
                *to = v;
              }
        __syncthreads();
      }
    }
    for (int task = threadIdx.x; task < 16 * 32; task += kThreads) {  // pooling by 2 x 2, to 4 x 4
      const int pair = task % 32, pixel = task / 32, from = pixel / 4 * 20 + pixel % 4 * 2;
      float2 best = *place<64>(third, from, 2 * pair);
#pragma unroll
      for (int k = 1; k < 4; ++k) best = max2(best, *place<64>(third, from + k / 2 * 10 + k % 2, 2 * pair));
      put<256>(shared, pixel, pair, best);
    }
    __syncthreads();

    {  // conv4, 64 to 128 channels, 3 x 3 in rows of 4
      float sum[1][2][4] = {};
      convolve<2, 4, 4, 256, 16>(sum, in, 0, w->fourth, 2 * warp, 0, 16);
      const float unscale = __ldg(w->unscale + 3);
      float* const out = features + static_cast<long long>(i) * kFeatures;
#pragma unroll
      for (int j = 0; j < 2; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int c = 16 * warp + 8 * j + 2 * t, q = g + 8 * half, y = q / 4, x = q % 4;
          if (y < 3 && x < 3) {
            const float2 v = activate(sum[0][j][2 * half], sum[0][j][2 * half + 1], unscale, w->bias4, w->slope4, c);
            out[c * 9 + y * 3 + x] = v.x;
            out[(c + 1) * 9 + y * 3 + x] = v.y;
          }
        }
    }
  }
}

}  // namespace fastface
