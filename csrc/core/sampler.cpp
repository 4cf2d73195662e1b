#include "core/sampler.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace fastface {
namespace {

// Until its crop has a place, a sample carries the number of its face in the batch.
int64_t promised(int64_t face) { return -1 - face; }

}  // namespace

void Sampler::offer(const int64_t* track, const double* time, const float* quality, const float* legibility, int64_t m,
                    std::vector<int64_t>& wanted, std::vector<int64_t>& freed) {
  std::vector<char> alive(static_cast<size_t>(m), 0);
  for (int64_t i = 0; i < m; ++i) {
    std::vector<Sample>& kept = kept_[track[i]];
    const Sample sample{quality[i], legibility[i], time[i], promised(i)};
    // The neighbour in time with the lowest quality, else the lowest of all; the first of equals.
    const auto lowest = [&](bool near) {
      auto found = kept.end();
      for (auto s = kept.begin(); s != kept.end(); ++s)
        if ((!near || std::abs(s->time - sample.time) < spacing_) && (found == kept.end() || s->quality < found->quality))
          found = s;
      return found;
    };
    auto rival = lowest(true);
    if (rival == kept.end() && kept.size() >= k_) rival = lowest(false);
    if (rival == kept.end()) {
      kept.push_back(sample);
    } else if (sample.quality > rival->quality) {
      if (rival->place >= 0)
        freed.push_back(rival->place);
      else
        alive[static_cast<size_t>(promised(rival->place))] = 0;
      *rival = sample;
    } else {
      continue;
    }
    alive[static_cast<size_t>(i)] = 1;
  }
  waiting_.clear();
  for (int64_t i = 0; i < m; ++i)
    if (alive[static_cast<size_t>(i)]) {
      wanted.push_back(i);
      waiting_.push_back({track[i], i});
    }
}

void Sampler::place(const int64_t* places) {
  for (const Waiting& w : waiting_)
    for (Sample& s : kept_[w.track])
      if (s.place == promised(w.face)) s.place = *places++;
  waiting_.clear();
}

std::vector<Sample> Sampler::take(int64_t track) {
  const auto found = kept_.find(track);
  if (found == kept_.end()) return {};
  std::vector<Sample> out = std::move(found->second);
  kept_.erase(found);
  std::stable_sort(out.begin(), out.end(), [](const Sample& a, const Sample& b) { return a.time < b.time; });
  return out;
}

void Sampler::restore(std::map<int64_t, std::vector<Sample>> kept) {
  kept_ = std::move(kept);
  waiting_.clear();
}

}  // namespace fastface
