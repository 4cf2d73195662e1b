#include "core/matcher.h"

#include <algorithm>

#include "core/dot.h"

namespace fastface {

void Matcher::add(const float* vector, int64_t id) {
  vectors_.insert(vectors_.end(), vector, vector + dim_);
  ids_.push_back(id);
  order_.push_back(static_cast<int64_t>(ids_.size()) - 1);
  bring_to_front(id);
}

void Matcher::bring_to_front(int64_t id) {
  std::stable_partition(order_.begin(), order_.end(), [&](int64_t row) { return ids_[row] != id; });
}

Match Matcher::match(const float* query, bool touch) {
  Match best{-1, -1.0f, 0};
  int64_t best_id = -1;
  for (auto row = order_.rbegin(); row != order_.rend(); ++row) {
    const float similarity = dot(query, vectors_.data() + *row * dim_, dim_);
    ++best.compared;
    if (best_id < 0 || similarity > best.similarity) {
      best.similarity = similarity;
      best_id = ids_[*row];
      if (similarity >= sure_) break;
    }
  }
  if (best_id >= 0 && best.similarity >= threshold_) {
    best.id = best_id;
    if (touch) bring_to_front(best_id);
  }
  return best;
}

}  // namespace fastface
