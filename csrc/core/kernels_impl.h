// The kernels, once for each level: a file defines FASTFACE_LANES and the name, is compiled with the level's flags and
// includes this. Only <cstdint> and intrinsics: an inline function of the standard library compiled here could be the
// copy that the linker keeps for machines that lack the level.
#include <stdint.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "core/kernels.h"

namespace fastface {
namespace {

constexpr int kLanes = FASTFACE_LANES;
constexpr int kTile = kLanes == 16 ? 12 : 6;  // x 2 registers of queries: the accumulators that the register file holds
constexpr int kRows = 8;                      // of `one`, whose sums are added up together
static_assert(kMaxPanel >= 2 * kLanes, "a panel must fit");

typedef float V __attribute__((vector_size(4 * FASTFACE_LANES), may_alias));
typedef float Unaligned __attribute__((vector_size(4 * FASTFACE_LANES), aligned(4), may_alias));

inline V load(const float* p) { return *reinterpret_cast<const V*>(p); }
inline V load_unaligned(const float* p) { return *reinterpret_cast<const Unaligned*>(p); }
inline void store(float* p, V v) { *reinterpret_cast<V*>(p) = v; }
inline V larger(V a, V b) { return a > b ? a : b; }

inline V broadcast(float x) {
#if FASTFACE_LANES == 16 && defined(__AVX512F__)
  return _mm512_set1_ps(x);
#elif FASTFACE_LANES == 8 && defined(__AVX2__)
  return _mm256_set1_ps(x);
#else
  V v;
  for (int k = 0; k < kLanes; ++k) v[k] = x;
  return v;
#endif
}

inline V fused(V a, V b, V c) {
#if FASTFACE_LANES == 16 && defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif FASTFACE_LANES == 8 && defined(__FMA__)
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

// out[r] = sum of the lanes of sums[r], for eight rows.
inline void reduce(const V* sums, float* out) {
#if defined(__AVX2__) && FASTFACE_LANES >= 8
  __m256 h[8];
#pragma GCC unroll 8
  for (int r = 0; r < 8; ++r) {
#if FASTFACE_LANES == 16
    const float* halves = reinterpret_cast<const float*>(&sums[r]);
    h[r] = _mm256_add_ps(_mm256_loadu_ps(halves), _mm256_loadu_ps(halves + 8));
#else
    h[r] = sums[r];
#endif
  }
  const __m256 a = _mm256_hadd_ps(_mm256_hadd_ps(h[0], h[1]), _mm256_hadd_ps(h[2], h[3]));
  const __m256 b = _mm256_hadd_ps(_mm256_hadd_ps(h[4], h[5]), _mm256_hadd_ps(h[6], h[7]));
  _mm256_storeu_ps(out, _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31)));
#else
  for (int r = 0; r < 8; ++r) {
    float sum = 0.0f;
    for (int k = 0; k < kLanes; ++k) sum += sums[r][k];
    out[r] = sum;
  }
#endif
}

#if defined(__AVX2__)
// The last three steps of `dot`: lane k gets lane k + 4, then k + 2, then k + 1.
inline float sum_in_halves(__m256 v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
#endif

float dot_fixed(const float* a, const float* b, int n) {
  constexpr int kParts = 16 / kLanes;
  V part[kParts] = {};
  int i = 0;
  for (; i + 16 <= n; i += 16)
#pragma GCC unroll 4
    for (int p = 0; p < kParts; ++p) part[p] += load_unaligned(a + i + p * kLanes) * load_unaligned(b + i + p * kLanes);
#if FASTFACE_LANES == 8 && defined(__AVX2__)
  if (i == n) return sum_in_halves(_mm256_add_ps(part[0], part[1]));
#elif FASTFACE_LANES == 16 && defined(__AVX512F__)
  if (i == n)
    return sum_in_halves(_mm256_add_ps(_mm512_castps512_ps256(part[0]),
                                       _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(part[0]), 1))));
#endif
  alignas(64) float lane[16];
  for (int p = 0; p < kParts; ++p) store(lane + p * kLanes, part[p]);
  for (int k = 0; i < n; ++i, ++k) lane[k] += a[i] * b[i];
  for (int width = 8; width > 0; width /= 2)
    for (int k = 0; k < width; ++k) lane[k] += lane[k + width];
  return lane[0];
}

void squares(const float* vectors, int64_t n, int dim, float* out) {
  for (int64_t i = 0; i < n; i += 8) {
    const int some = n - i < 8 ? static_cast<int>(n - i) : 8;
    V sum[8] = {};
    float rest[8] = {}, total[8];
    for (int r = 0; r < some; ++r) {
      const float* a = vectors + (i + r) * dim;
      V part[4] = {};
      int k = 0;
      for (; k + 4 * kLanes <= dim; k += 4 * kLanes)
#pragma GCC unroll 4
        for (int p = 0; p < 4; ++p) {
          const V x = load_unaligned(a + k + p * kLanes);
          part[p] = fused(x, x, part[p]);
        }
      sum[r] = (part[0] + part[1]) + (part[2] + part[3]);
      for (; k < dim; ++k) rest[r] += a[k] * a[k];
    }
    reduce(sum, total);
    for (int r = 0; r < some; ++r) out[i + r] = total[r] + rest[r];
  }
}

float score_one(const float* rows, int64_t stride, int count, const float* query, float* out) {
  float best = -__builtin_inff();
  alignas(64) float top[kRows];
  for (int i = 0; i < kRows; ++i) top[i] = best;
  int r = 0;
  for (; r + kRows <= count; r += kRows) {
    // One row after the other: memory is read in order, which beats eight rows side by side (19 against 12 GB/s).
    V sum[kRows];
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const float* row = rows + (r + i) * stride;
      V part[4] = {};
      int64_t k = 0;
      for (; k + 4 * kLanes <= stride; k += 4 * kLanes)
#pragma GCC unroll 4
        for (int p = 0; p < 4; ++p) part[p] = fused(load(row + k + p * kLanes), load(query + k + p * kLanes), part[p]);
      for (; k < stride; k += kLanes) part[0] = fused(load(row + k), load(query + k), part[0]);
      sum[i] = (part[0] + part[1]) + (part[2] + part[3]);
    }
    reduce(sum, out + r);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) top[i] = out[r + i] > top[i] ? out[r + i] : top[i];
  }
  for (int i = 0; i < kRows; ++i) best = top[i] > best ? top[i] : best;
  for (; r < count; ++r) {
    V sum = {};
    for (int64_t k = 0; k < stride; k += kLanes) sum = fused(load(rows + r * stride + k), load(query + k), sum);
    float total = 0.0f;
    for (int k = 0; k < kLanes; ++k) total += sum[k];
    out[r] = total;
    best = total > best ? total : best;
  }
  return best;
}

// Tells the best of each kTile rows.
template <int Rows, int Registers>
inline void score_tile(const float* rows, int64_t stride, const float* panel, int dim, float* out, float* best) {
  constexpr int kWidth = Registers * kLanes;
  V sum[Rows][Registers] = {};
  for (int k = 0; k < dim; ++k) {
    V q[Registers];
#pragma GCC unroll 2
    for (int j = 0; j < Registers; ++j) q[j] = load(panel + static_cast<int64_t>(k) * kWidth + j * kLanes);
#pragma GCC unroll 24
    for (int i = 0; i < Rows; ++i) {
      const V x = broadcast(rows[i * stride + k]);
#pragma GCC unroll 2
      for (int j = 0; j < Registers; ++j) sum[i][j] = fused(x, q[j], sum[i][j]);
    }
  }
#pragma GCC unroll 2
  for (int j = 0; j < Registers; ++j) {
#pragma GCC unroll 2
    for (int t = 0; t < Rows; t += kTile) {
      V top = sum[t][j];
#pragma GCC unroll 12
      for (int i = t; i < (t + kTile < Rows ? t + kTile : Rows); ++i) {
        store(out + i * kWidth + j * kLanes, sum[i][j]);
        top = larger(top, sum[i][j]);
      }
      store(best + t / kTile * kWidth + j * kLanes, top);
    }
  }
}

template <int Rows, int Registers>
void score_rest(const float* rows, int64_t stride, int count, const float* panel, int dim, float* out, float* best) {
  if constexpr (Rows > 0) {
    if (count == Rows)
      score_tile<Rows, Registers>(rows, stride, panel, dim, out, best);
    else
      score_rest<Rows - 1, Registers>(rows, stride, count, panel, dim, out, best);
  }
}

template <int Registers>
void score_panel(const float* rows, int64_t stride, int count, const float* panel, int dim, float* out, float* best) {
  constexpr int kWidth = Registers * kLanes;
  int r = 0;
  if constexpr (Registers == 1)  // twice the rows, so that as many sums are under way
    for (; r + 2 * kTile <= count; r += 2 * kTile, best += 2 * kWidth)
      score_tile<2 * kTile, 1>(rows + r * stride, stride, panel, dim, out + r * kWidth, best);
  for (; r + kTile <= count; r += kTile, best += kWidth)
    score_tile<kTile, Registers>(rows + r * stride, stride, panel, dim, out + r * kWidth, best);
  score_rest<kTile - 1, Registers>(rows + r * stride, stride, count - r, panel, dim, out + r * kWidth, best);
}

void score_panels(const float* rows, int64_t stride, int count, const float* panel, int dim, int registers, float* out,
                  float* best) {
  if (registers == 2)
    score_panel<2>(rows, stride, count, panel, dim, out, best);
  else
    score_panel<1>(rows, stride, count, panel, dim, out, best);
}

#if defined(__AVX2__)
// Eight columns of eight rows, `stride` apart, become eight rows of `width`.
inline void transpose8(const float* in, int64_t stride, float* out, int64_t width) {
  __m256 a[8], b[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) a[i] = _mm256_loadu_ps(in + i * stride);
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
    b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
    a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
    a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
    a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    _mm256_storeu_ps(out + i * width, _mm256_permute2f128_ps(a[i], a[i + 4], 0x20));
    _mm256_storeu_ps(out + (i + 4) * width, _mm256_permute2f128_ps(a[i], a[i + 4], 0x31));
  }
}
#endif

void pack(const float* queries, int64_t count, int dim, int width, float* panel) {
  int64_t whole = 0, k = 0;  // queries and columns that are done by eights
#if defined(__AVX2__)
  whole = count / 8 * 8;
  for (; k + 8 <= dim; k += 8)
    for (int64_t q = 0; q < whole; q += 8) transpose8(queries + q * dim + k, dim, panel + k * width + q, width);
#endif
  for (int64_t q = 0; q < width; ++q)
    for (int64_t j = q < whole ? k : 0; j < dim; ++j) panel[j * width + q] = q < count ? queries[q * dim + j] : 0.0f;
}

}  // namespace

extern const Kernels FASTFACE_KERNELS;
const Kernels FASTFACE_KERNELS = {FASTFACE_LEVEL, kLanes, kTile, dot_fixed, squares, score_one, score_panels, pack};

}  // namespace fastface
