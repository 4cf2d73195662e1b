#include "core/nms.h"

#include <algorithm>
#include <numeric>

#include "common/box.h"

namespace fastface {

std::vector<int64_t> nms(const float* boxes, const float* scores, const int64_t* group, int64_t n, float threshold,
                         Overlap overlap) {
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    if (group[a] != group[b]) return group[a] < group[b];
    if (scores[a] != scores[b]) return scores[a] > scores[b];
    return a < b;
  });
  std::vector<int64_t> kept;
  int64_t current = 0;
  size_t first = 0;  // of the current group, in kept
  for (int64_t i : order) {
    if (kept.empty() || group[i] != current) {
      current = group[i];
      first = kept.size();
    }
    bool good = true;
    for (size_t k = first; k < kept.size() && good; ++k) {
      const float* other = boxes + 4 * kept[k];
      const float* mine = boxes + 4 * i;
      good = !((overlap == Overlap::kMin ? overlap_min(other, mine) : iou(other, mine)) > threshold);
    }
    if (good) kept.push_back(i);
  }
  return kept;
}

}  // namespace fastface
