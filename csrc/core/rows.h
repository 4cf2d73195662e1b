// Vectors in memory: rows of a multiple of 16 floats, 64-byte aligned, in segments, so that growing copies nothing.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

namespace fastface {

struct Free {
  void operator()(float* p) const { std::free(p); }
};
using Aligned = std::unique_ptr<float[], Free>;

// `count` floats at 64 bytes, or at 2 MB with huge pages where there are many. Throws std::bad_alloc.
Aligned aligned_floats(int64_t count);

class Rows {
 public:
  explicit Rows(int dim);

  void push_back(const float* vector);
  void pop_back();
  const float* operator[](int64_t row) const { return segments_[row / per_segment_].get() + row % per_segment_ * stride_; }
  // How many rows from this one on lie one after the other.
  int64_t together(int64_t row) const { return std::min(size_, (row / per_segment_ + 1) * per_segment_) - row; }
  // Copies the last row over this one.
  void fill_from_last(int64_t row);

  int dim() const { return dim_; }
  int64_t stride() const { return stride_; }  // floats from row to row; those after dim are zero
  int64_t size() const { return size_; }

 private:
  int dim_;
  int64_t stride_, per_segment_, size_ = 0;
  int64_t room_ = 0;  // rows that fit into the segments there are
  std::vector<Aligned> segments_;
};

}  // namespace fastface
