// Batched greedy non-maximum suppression in a fixed order: score (highest first), then tie (lowest first).
#include "common/box.h"

namespace fastface {

// One block a group. Group g holds the items of `parts` lists, g * parts, g * parts + 1, ...; list p is
// list[start[p]], ..., list[start[p] + min(count[p], limit) - 1], or those numbers themselves where list is null. Items
// of score > least take part (scores are positive), most of them at most. tie must differ within a group; null: the item's
// number.
//
// Kept items go to kept[kept_start[g]], ... in their order, with g in kept_group; kept_start[g] is taken from *total, so
// groups follow each other in any order. failed is set to 1 where a group has more than `most` items, and to 2 where
// `capacity` items do not hold what is kept; then nothing of that group is.
//
// most: a power of two, at most 16384. Dynamic shared memory: 13 bytes for each, and 16 more if boxes_in_shared.
extern "C" __global__ void nms(const float* box, const float* score, const unsigned int* tie, const int* list,
                               const int* start, const int* count, int parts, int limit, int most, int boxes_in_shared,
                               float least, float threshold, int minimum, int capacity, int* kept, int* kept_group,
                               int* kept_start, int* kept_count, int* total, int* failed) {
  extern __shared__ __align__(16) unsigned char shared[];
  float4* const boxes = reinterpret_cast<float4*>(shared);
  unsigned long long* const key = reinterpret_cast<unsigned long long*>(shared + (boxes_in_shared ? 16 * most : 0));
  int* const item = reinterpret_cast<int*>(key + most);
  unsigned char* const gone = reinterpret_cast<unsigned char*>(item + most);
  __shared__ int alive, base;
  const int g = blockIdx.x;
  if (threadIdx.x == 0) alive = 0;
  __syncthreads();
  for (int p = g * parts; p < (g + 1) * parts; ++p) {
    const int first = start[p], n = min(count[p], limit);
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
      const int mine = list ? list[first + i] : first + i;
      const float s = score[mine];
      if (!(s > least)) continue;
      const int place = atomicAdd(&alive, 1);
      if (place >= most) continue;
      // The bits of positive floats order as the floats do.
      key[place] =
          static_cast<unsigned long long>(~__float_as_uint(s)) << 32 | (tie ? tie[mine] : static_cast<unsigned int>(mine));
      item[place] = mine;
    }
  }
  __syncthreads();
  const int live = alive;
  if (live == 0 || live > most) {
    if (threadIdx.x == 0) {
      kept_start[g] = kept_count[g] = 0;
      if (live) atomicOr(failed, 1);
    }
    return;
  }
  int size = 1;
  while (size < live) size *= 2;
  for (int i = threadIdx.x; i < size; i += blockDim.x) {
    if (i >= live) key[i] = ~0ull;  // sorts behind all others
    gone[i] = 0;
  }
  __syncthreads();

  // Bitonic sort, ascending (Batcher 1968).
  for (int length = 2; length <= size; length *= 2)
    for (int step = length / 2; step > 0; step /= 2) {
      for (int i = threadIdx.x; i < size; i += blockDim.x) {
        const int j = i ^ step;
        if (j > i && (key[i] > key[j]) == ((i & length) == 0)) {
          const unsigned long long k = key[i];
          key[i] = key[j];
          key[j] = k;
          const int t = item[i];
          item[i] = item[j];
          item[j] = t;
        }
      }
      __syncthreads();
    }
  const int lane = threadIdx.x & 31;
  const auto box_of = [&](int i) { return boxes_in_shared ? boxes[i] : reinterpret_cast<const float4*>(box)[item[i]]; };
  if (boxes_in_shared) {
    for (int i = threadIdx.x; i < live; i += blockDim.x) boxes[i] = reinterpret_cast<const float4*>(box)[item[i]];
    __syncthreads();
  }
  // Whom each of them would suppress among the 32 that it belongs to, a bit each; in the place of the keys.
  unsigned int* const victims = reinterpret_cast<unsigned int*>(key);
  for (int i = threadIdx.x >> 5; i < live; i += blockDim.x >> 5) {
    const float4 a = box_of(i), b = box_of(min((i & ~31) + lane, live - 1));
    const bool goes = lane > (i & 31) && overlaps(&a.x, &b.x, threshold, minimum != 0);
    const unsigned int bits = __ballot_sync(0xffffffffu, goes);
    if (lane == 0) victims[i] = bits;
  }
  __syncthreads();

  // 32 at a time: one warp finds which of them are kept, then all threads let those suppress what comes later.
  __shared__ unsigned int kept_bits;
  __shared__ float4 chunk[32];
  int found = 0;
  for (int begin = 0; begin < live; begin += 32) {
    if (threadIdx.x < 32) {
      const int i = begin + lane;
      const bool here = i < live;
      const unsigned int mine = here ? victims[i] : 0;
      if (here) chunk[lane] = box_of(i);
      unsigned int bits = __ballot_sync(0xffffffffu, here && !gone[i]);
      for (unsigned int left = bits & __ballot_sync(0xffffffffu, mine != 0); left;) {
        const int k = __ffs(left) - 1;
        const unsigned int those = __shfl_sync(0xffffffffu, mine, k);
        bits &= ~those;
        left &= ~(those | 1u << k);
      }
      if (here) gone[i] = !(bits >> lane & 1);
      if (lane == 0) kept_bits = bits;
    }
    __syncthreads();
    const unsigned int bits = kept_bits;
    found += __popc(bits);
    for (int j = begin + 32 + threadIdx.x; j < live; j += blockDim.x) {
      if (gone[j]) continue;
      const float4 b = box_of(j);
      for (unsigned int left = bits; left; left &= left - 1) {
        const float4 a = chunk[__ffs(left) - 1];
        if (overlaps(&a.x, &b.x, threshold, minimum != 0)) {
          gone[j] = 1;
          break;
        }
      }
    }
    __syncthreads();
  }

  if (threadIdx.x == 0) {
    base = atomicAdd(total, found);
    const bool fits = base + found <= capacity;
    kept_start[g] = fits ? base : 0;
    kept_count[g] = fits ? found : 0;
    if (!fits) {
      atomicOr(failed, 2);
      base = -1;
    }
  }
  __syncthreads();
  if (base < 0) return;
  // One warp numbers what is kept, in order.
  if (threadIdx.x < 32) {
    int at = base;
    for (int i = threadIdx.x; i < ((live + 31) & ~31); i += 32) {
      const bool mine = i < live && !gone[i];
      const unsigned int ballot = __ballot_sync(0xffffffffu, mine);
      if (mine) {
        const int place = at + __popc(ballot & ((1u << threadIdx.x) - 1));
        kept[place] = item[i];
        kept_group[place] = g;
      }
      at += __popc(ballot);
    }
  }
}

}  // namespace fastface
