// Chooses which faces of a track are worth embedding, while the track grows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace fastface {

struct Sample {
  double quality, legibility, time;
  int64_t place;  // where its crop is; negative until `place` says
};

class Sampler {
 public:
  // At most k faces of a track, `spacing` seconds apart.
  Sampler(int k, double spacing) : k_(static_cast<size_t>(k)), spacing_(spacing) {}

  // m faces ordered by frame, each of a track. A face takes the place of its neighbour in time if it is better, of the
  // worst if there are k, or a free one. `wanted` receives the numbers of those that are kept now, ascending; `freed`
  // the places of earlier ones that are not any more. `place` must follow.
  void offer(const int64_t* track, const double* time, const float* quality, const float* legibility, int64_t m,
             std::vector<int64_t>& wanted, std::vector<int64_t>& freed);

  // Where the crops of the faces are that the last `offer` wanted, in its order.
  void place(const int64_t* places);
  size_t waiting() const { return waiting_.size(); }

  // The samples of a track that ended, in the order of time; they are forgotten here.
  std::vector<Sample> take(int64_t track);

  // What is kept, by track; to stop here and go on later.
  const std::map<int64_t, std::vector<Sample>>& kept() const { return kept_; }
  void restore(std::map<int64_t, std::vector<Sample>> kept);

 private:
  struct Waiting {
    int64_t track, face;
  };

  size_t k_;
  double spacing_;
  std::map<int64_t, std::vector<Sample>> kept_;
  std::vector<Waiting> waiting_;
};

}  // namespace fastface
