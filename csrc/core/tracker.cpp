#include "core/tracker.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/box.h"

namespace fastface {
namespace {

float correlation(const float* a, const float* b) {
  float sum = 0.0f, norm_a = 0.0f, norm_b = 0.0f;
  for (int i = 0; i < kAppearance; ++i) {
    sum += a[i] * b[i];
    norm_a += a[i] * a[i];
    norm_b += b[i] * b[i];
  }
  // A flat thumbnail says nothing, neither for nor against.
  return norm_a == 0.0f || norm_b == 0.0f ? 1.0f : sum;
}

// Intersection over the smaller box: up to kApart two boxes are two faces, above kOneFace they are one.
constexpr float kApart = 0.4f, kOneFace = 0.5f;

float side(const float* box) { return 0.5f * ((box[2] - box[0]) + (box[3] - box[1])); }

}  // namespace

void Tracker::update(const double* time, const uint8_t* cut, int64_t n, const int64_t* row, const float* box,
                     const float* appearance, int64_t m, int64_t* track) {
  int64_t begin = 0;
  for (int64_t i = 0; i < n; ++i) {
    int64_t end = begin;
    while (end < m && row[end] == i) ++end;
    if (cut[i]) {
      for (const Live& t : live_) finished_.push_back(t.id);
      live_.clear();
    }
    step(time[i], box + 4 * begin, appearance + kAppearance * begin, end - begin, track + begin);
    begin = end;
  }
}

void Tracker::step(double time, const float* box, const float* appearance, int64_t m, int64_t* track) {
  const auto gone =
      std::stable_partition(live_.begin(), live_.end(), [&](const Live& t) { return time - t.time <= settings_.max_gap; });
  for (auto t = gone; t != live_.end(); ++t) finished_.push_back(t->id);
  live_.erase(gone, live_.end());

  struct Pair {
    float affinity;
    int64_t face;
    size_t live;
  };
  std::vector<Pair> pairs;
  for (size_t k = 0; k < live_.size(); ++k) {
    const Live& t = live_[k];
    const double dt = time - t.time;
    // The motion is trusted for a tenth of a second; beyond that the last place is as good a guess.
    const float ahead = static_cast<float>(std::min(dt, 0.1));
    const float dx = t.velocity[0] * ahead, dy = t.velocity[1] * ahead;
    const float predicted[4] = {t.box[0] + dx, t.box[1] + dy, t.box[2] + dx, t.box[3] + dy};
    for (int64_t i = 0; i < m; ++i) {
      const float* b = box + 4 * i;
      const float overlap = std::max(iou(predicted, b), iou(t.box, b));
      const float size = 0.5f * (side(t.box) + side(b));
      const float shift = std::hypot(0.5f * (b[0] + b[2] - predicted[0] - predicted[2]),
                                     0.5f * (b[1] + b[3] - predicted[1] - predicted[3])) /
                          size;
      const float ratio = side(b) / side(t.box);
      const bool near = shift < settings_.max_shift && ratio > 0.6f && ratio < 1.6f;
      if (!(overlap >= settings_.min_iou || near)) continue;
      const float alike = correlation(t.appearance, appearance + kAppearance * i);
      if (alike < settings_.min_appearance) continue;
      pairs.push_back({overlap + 0.5f * alike - 0.25f * shift, i, k});
    }
  }
  std::sort(pairs.begin(), pairs.end(), [&](const Pair& a, const Pair& b) {
    if (a.affinity != b.affinity) return a.affinity > b.affinity;
    if (a.face != b.face) return a.face < b.face;
    return live_[a.live].id < live_[b.live].id;
  });

  std::fill(track, track + m, int64_t{-1});
  std::vector<char> taken(live_.size(), 0);
  for (const Pair& p : pairs) {
    if (track[p.face] != -1 || taken[p.live]) continue;
    taken[p.live] = 1;
    Live& t = live_[p.live];
    track[p.face] = t.id;
    const float* b = box + 4 * p.face;
    const float dt = static_cast<float>(std::max(time - t.time, 1e-3));
    for (int axis = 0; axis < 2; ++axis) {
      const float moved = 0.5f * (b[axis] + b[axis + 2] - t.box[axis] - t.box[axis + 2]);
      t.velocity[axis] = 0.5f * t.velocity[axis] + 0.5f * moved / dt;
    }
    std::memcpy(t.box, b, sizeof t.box);
    std::memcpy(t.appearance, appearance + kAppearance * p.face, sizeof t.appearance);
    t.time = time;
  }
  for (int64_t i = 0; i < m; ++i) {
    if (track[i] != -1) continue;
    Live t{};
    t.id = track[i] = next_id_++;
    t.time = time;
    std::memcpy(t.box, box + 4 * i, sizeof t.box);
    std::memcpy(t.appearance, appearance + kAppearance * i, sizeof t.appearance);
    live_.push_back(t);
  }

  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = i + 1; j < m; ++j) {
      // Two boxes on one face are one person seen twice, not two people.
      const float overlap = overlap_min(box + 4 * i, box + 4 * j);
      const std::pair<int64_t, int64_t> pair{std::min(track[i], track[j]), std::max(track[i], track[j])};
      if (overlap <= kApart) ++conflicts_[pair];
      if (overlap > kOneFace) ++overlaps_[pair];
    }
}

std::vector<int64_t> Tracker::take_finished(bool all) {
  if (all) {
    for (const Live& t : live_) finished_.push_back(t.id);
    live_.clear();
  }
  std::vector<int64_t> out;
  out.swap(finished_);
  return out;
}

void Tracker::restore(int64_t next_id, std::vector<Live> live, const int64_t* conflicts, int64_t n_conflicts,
                      const int64_t* overlaps, int64_t n_overlaps) {
  const auto pairs = [](const int64_t* triples, int64_t n) {
    Pairs out;
    for (int64_t i = 0; i < n; ++i) out[{triples[3 * i], triples[3 * i + 1]}] = triples[3 * i + 2];
    return out;
  };
  next_id_ = next_id;
  live_ = std::move(live);
  finished_.clear();
  conflicts_ = pairs(conflicts, n_conflicts);
  overlaps_ = pairs(overlaps, n_overlaps);
}

std::vector<int64_t> Tracker::flat(const Pairs& pairs) {
  std::vector<int64_t> out;
  out.reserve(pairs.size() * 3);
  for (const auto& [pair, frames] : pairs) {
    out.push_back(pair.first);
    out.push_back(pair.second);
    out.push_back(frames);
  }
  return out;
}

}  // namespace fastface
