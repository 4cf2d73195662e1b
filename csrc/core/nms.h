#pragma once

#include <cstdint>
#include <vector>

namespace fastface {

enum class Overlap { kUnion, kMin };

// Greedy non-maximum suppression within each group.
// boxes [n, 4], scores [n], group [n]; a box goes where its overlap with a kept one of its group is > threshold.
// Returns the kept indices, by group, then by score (highest first), then by index.
std::vector<int64_t> nms(const float* boxes, const float* scores, const int64_t* group, int64_t n, float threshold,
                         Overlap overlap);

}  // namespace fastface
