// Batched greedy non-maximum suppression in a fixed order: score (highest first), then tie (lowest first).
#include "common/box.h"

namespace fastface {

// One block a group. Group g holds items [start[g], start[g] + count[g]); those with score > least take part (scores are
// positive). tie must differ within a group. Where count[g] > most nothing is kept and kept_count[g] is -1.
// kept [groups, most] receives the kept items, in order, as numbers of items; kept_count [groups] how many.
// most: a power of two, at most 65536. Dynamic shared memory: most * 11 bytes.
extern "C" __global__ void nms(const float* box, const float* score, const unsigned int* tie, const int* start,
                               const int* count, int most, float least, float threshold, int minimum, int* kept,
                               int* kept_count) {
  extern __shared__ unsigned long long key[];
  unsigned short* item = reinterpret_cast<unsigned short*>(key + most);
  unsigned char* gone = reinterpret_cast<unsigned char*>(item + most);
  __shared__ int alive;
  const int g = blockIdx.x, first = start[g], n = count[g];
  if (n > most) {
    if (threadIdx.x == 0) kept_count[g] = -1;
    return;
  }
  int size = 1;
  while (size < n) size *= 2;
  if (threadIdx.x == 0) alive = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < size; i += blockDim.x) {
    unsigned long long k = ~0ull;  // sorts behind all others
    if (i < n && score[first + i] > least) {
      // The bits of positive floats order as the floats do.
      k = static_cast<unsigned long long>(~__float_as_uint(score[first + i])) << 32 | tie[first + i];
      atomicAdd(&alive, 1);
    }
    key[i] = k;
    item[i] = static_cast<unsigned short>(i);
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
          const unsigned short t = item[i];
          item[i] = item[j];
          item[j] = t;
        }
      }
      __syncthreads();
    }

  int* mine = kept + static_cast<long long>(g) * most;
  const int live = alive;
  int found = 0;
  for (int i = 0; i < live; ++i) {
    if (gone[i]) continue;  // the same for all threads: nobody writes to it between the barriers
    const float* a = box + 4ll * (first + item[i]);
    if (threadIdx.x == 0) mine[found] = first + item[i];
    ++found;
    for (int j = i + 1 + threadIdx.x; j < live; j += blockDim.x) {
      if (gone[j]) continue;
      const float* b = box + 4ll * (first + item[j]);
      if ((minimum ? overlap_min(a, b) : iou(a, b)) > threshold) gone[j] = 1;
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) kept_count[g] = found;
}

// Kept items of all groups in one list, by group: flat [total], group [total], start [groups + 1], the sums of the counts
// before each group. One block. Groups that failed (kept_count -1) set *failed.
extern "C" __global__ void gather_kept(const int* kept, const int* kept_count, int groups, int most, int capacity,
                                       int* flat, long long* group, int* start, int* failed) {
  __shared__ int running;
  if (threadIdx.x == 0) {
    running = 0;
    for (int g = 0; g < groups; ++g) {
      start[g] = running;
      if (kept_count[g] < 0)
        *failed = 1;
      else
        running += kept_count[g];
    }
    start[groups] = running;
    if (running > capacity) *failed = 1;
  }
  __syncthreads();
  for (int g = threadIdx.x / 32; g < groups; g += blockDim.x / 32)
    for (int i = threadIdx.x % 32; i < kept_count[g]; i += 32) {
      const int at = start[g] + i;
      if (at < capacity) {
        flat[at] = kept[static_cast<long long>(g) * most + i];
        group[at] = g;
      }
    }
}

}  // namespace fastface
