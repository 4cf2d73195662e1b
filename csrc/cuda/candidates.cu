// P-Net's cells over the threshold, from maps that another library computed, appended to buffers of fixed capacity.

namespace fastface {

// probability [n, height, width] of one level. A cell of at least the threshold is appended to group
// frame * levels + level: tie[group * capacity + place] = level << 26 | cell. count [n * levels] goes on beyond the
// capacity, so that an overflow shows; the order within a group is that of the atomics, and the suppression sorts it.
extern "C" __global__ void candidates(const float* probability, int n, int height, int width, float threshold, int levels,
                                      int level, int capacity, unsigned int* tie, int* count) {
  const int cells = height * width;
  for (long long i = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x; i < static_cast<long long>(n) * cells;
       i += static_cast<long long>(gridDim.x) * blockDim.x) {
    if (!(probability[i] >= threshold)) continue;
    const int group = static_cast<int>(i / cells) * levels + level;
    const int place = atomicAdd(count + group, 1);
    if (place < capacity)
      tie[static_cast<long long>(group) * capacity + place] =
          static_cast<unsigned int>(level) << 26 | static_cast<unsigned int>(i % cells);
  }
}

}  // namespace fastface
