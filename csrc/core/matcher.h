// Which known person does a face belong to? Exact search with early exit over unit vectors.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <vector>

namespace fastface {

struct Match {
  int64_t id;         // -1: nobody is similar enough
  float similarity;   // cosine with the best that was looked at; -1 where there is nobody
  int64_t compared;   // how many vectors were looked at
};

class Matcher {
 public:
  // A similarity >= sure ends the search; else the best one >= threshold wins.
  Matcher(int dim, float threshold, float sure) : dim_(dim), threshold_(threshold), sure_(sure) {}

  // Adds one unit vector [dim] of person `id`, who becomes the newest seen. A person may have several vectors.
  void add(const float* vector, int64_t id);

  // Searches newest-seen people first; ties go to the newer. With `touch` the one who matched becomes the newest.
  Match match(const float* query, bool touch);

  int dim() const { return dim_; }
  int64_t size() const { return static_cast<int64_t>(ids_.size()); }

 private:
  void bring_to_front(int64_t id);

  int dim_;
  float threshold_, sure_;
  std::vector<float> vectors_;   // [size, dim]
  std::vector<int64_t> ids_;     // [size]
  std::vector<int64_t> order_;   // rows of vectors_, oldest seen first
};

}  // namespace fastface
