// Where one shot ends and the next begins.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

namespace fastface {

struct ShotSettings {
  double min_change;   // mean absolute change of the thumbnail, of full scale, under which nothing is a cut
  double usual_ratio;  // a cut changes this many times more than the median of the last few frames did,
  double last_ratio;   // and this many times more than the frame before it
  double sure_change;  // this is a cut however restless the video is
  int history;         // frames that "the last few" are
};

class ShotDetector {
 public:
  explicit ShotDetector(const ShotSettings& settings) : settings_(settings) {}

  // n thumbnails of `size` bytes that follow those of the last call -> cut [n]: 1 where a shot begins; the very first
  // frame begins one.
  void update(const uint8_t* thumbnails, int64_t n, int64_t size, uint8_t* cut);

  // What is known between two calls; `last` is empty before the first.
  const std::vector<uint8_t>& last() const { return last_; }
  bool was_cut() const { return was_cut_; }
  const std::deque<double>& changes() const { return changes_; }
  void restore(std::vector<uint8_t> last, bool was_cut, std::deque<double> changes);

 private:
  double usual() const;

  ShotSettings settings_;
  std::vector<uint8_t> last_;
  bool was_cut_ = false;
  std::deque<double> changes_;
};

}  // namespace fastface
