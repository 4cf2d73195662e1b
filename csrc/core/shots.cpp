#include "core/shots.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <utility>

namespace fastface {
namespace {

double mean_change(const uint8_t* a, const uint8_t* b, int64_t size) {
  int64_t sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += std::abs(int{a[i]} - int{b[i]});
  return size ? static_cast<double>(sum) / (255.0 * static_cast<double>(size)) : 0.0;
}

}  // namespace

double ShotDetector::usual() const {
  if (changes_.empty()) return 0.0;
  std::vector<double> ordered(changes_.begin(), changes_.end());
  std::sort(ordered.begin(), ordered.end());
  const size_t middle = ordered.size() / 2;
  return ordered.size() % 2 ? ordered[middle] : (ordered[middle - 1] + ordered[middle]) / 2;
}

void ShotDetector::update(const uint8_t* thumbnails, int64_t n, int64_t size, uint8_t* cut) {
  for (int64_t i = 0; i < n; ++i) {
    const uint8_t* now = thumbnails + i * size;
    if (i == 0 && last_.empty()) {
      cut[i] = 1;
    } else {
      const double change = mean_change(now, i ? now - size : last_.data(), size);
      const double before = changes_.empty() ? 0.0 : changes_.back();
      // A cut right after a cut (a shot of one frame) is as large as that one.
      const double ratio = was_cut_ ? 0.5 : settings_.last_ratio;
      const double least = std::max({settings_.min_change, settings_.usual_ratio * usual(), ratio * before});
      cut[i] = change >= settings_.sure_change || change >= least;
      changes_.push_back(change);
      if (changes_.size() > static_cast<size_t>(settings_.history)) changes_.pop_front();
    }
    was_cut_ = cut[i] != 0;
  }
  if (n) last_.assign(thumbnails + (n - 1) * size, thumbnails + n * size);
}

void ShotDetector::restore(std::vector<uint8_t> last, bool was_cut, std::deque<double> changes) {
  last_ = std::move(last);
  was_cut_ = was_cut;
  changes_ = std::move(changes);
}

}  // namespace fastface
