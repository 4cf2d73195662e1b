// Follows faces from frame to frame.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace fastface {

struct TrackerSettings {
  float min_iou;         // a face belongs to a track if its box overlaps the predicted one by at least this,
  float max_shift;       // or if its centre moved by less than this many box sizes (small, fast faces),
  float min_appearance;  // and looks like the track's last face at least this much (correlation in [-1, 1])
  double max_gap;        // seconds a track waits for its face to come back
};

constexpr int kAppearance = 64;

class Tracker {
 public:
  explicit Tracker(const TrackerSettings& settings) : settings_(settings) {}

  // One batch: time [n] seconds, cut [n] (1: a new shot begins with this frame), and m faces ordered by frame:
  // row [m] which frame, box [m, 4], appearance [m, 64]. track [m] receives the ids, from 0 in order of appearance.
  void update(const double* time, const uint8_t* cut, int64_t n, const int64_t* row, const float* box,
              const float* appearance, int64_t m, int64_t* track);

  // Ids of the tracks that can get no more faces, since the last call; with `all`, of every track that is left.
  std::vector<int64_t> take_finished(bool all);

  // Pairs of tracks that were seen apart in one frame, and in how many: (a, b, frames), a < b.
  std::vector<int64_t> conflicts() const { return flat(conflicts_); }

  // Pairs of tracks whose boxes lay on one another in one frame, and in how many: (a, b, frames), a < b.
  std::vector<int64_t> overlaps() const { return flat(overlaps_); }

  struct Live {
    int64_t id;
    double time;        // of the last face
    float box[4];       // the last face
    float velocity[2];  // of its centre, pixels a second
    float appearance[kAppearance];
  };

  // What a tracker knows between batches, once take_finished was called: to stop here and go on later.
  int64_t next_id() const { return next_id_; }
  const std::vector<Live>& live() const { return live_; }
  void restore(int64_t next_id, std::vector<Live> live, const int64_t* conflicts, int64_t n_conflicts,
               const int64_t* overlaps, int64_t n_overlaps);

 private:
  using Pairs = std::map<std::pair<int64_t, int64_t>, int64_t>;

  static std::vector<int64_t> flat(const Pairs& pairs);
  void step(double time, const float* box, const float* appearance, int64_t m, int64_t* track);

  TrackerSettings settings_;
  int64_t next_id_ = 0;
  std::vector<Live> live_;
  std::vector<int64_t> finished_;
  Pairs conflicts_, overlaps_;
};

}  // namespace fastface
