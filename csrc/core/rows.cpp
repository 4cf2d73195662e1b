#include "core/rows.h"

#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace fastface {

namespace {

constexpr int64_t kHugePage = 2 << 20, kSegment = 8 << 20;  // bytes
constexpr int64_t kFirst = 64;                              // rows of the smallest segment

}  // namespace

Aligned aligned_floats(int64_t count) {
  const int64_t bytes = count * static_cast<int64_t>(sizeof(float));
  const int64_t unit = bytes >= kHugePage ? kHugePage : 64;
  const int64_t whole = (bytes + unit - 1) / unit * unit;
  void* p = std::aligned_alloc(unit, std::max(whole, unit));
  if (p == nullptr) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (unit == kHugePage) madvise(p, whole, MADV_HUGEPAGE);  // a hint: without them it is only slower
#endif
  return Aligned(static_cast<float*>(p));
}

Rows::Rows(int dim) : dim_(dim), stride_((static_cast<int64_t>(dim) + 15) / 16 * 16) {
  per_segment_ = std::max<int64_t>(kSegment / (stride_ * 4), kFirst);
}

void Rows::push_back(const float* vector) {
  if (size_ == room_) {
    // Only the first segment grows by copying: few vectors take little memory.
    const int64_t want = size_ < per_segment_ ? std::min(std::max(2 * size_, kFirst), per_segment_) : per_segment_;
    Aligned segment = aligned_floats(want * stride_);
    if (size_ < per_segment_ && size_ > 0) {
      std::memcpy(segment.get(), segments_[0].get(), size_ * stride_ * sizeof(float));
      segments_[0] = std::move(segment);
      room_ = want;
    } else {
      segments_.push_back(std::move(segment));
      room_ += want;
    }
  }
  float* row = const_cast<float*>((*this)[size_]);
  std::memcpy(row, vector, dim_ * sizeof(float));
  std::memset(row + dim_, 0, (stride_ - dim_) * sizeof(float));
  ++size_;
}

void Rows::pop_back() {
  --size_;
  if (size_ % per_segment_ == 0) {  // also empties the first segment
    segments_.pop_back();
    room_ = size_;
  }
}

void Rows::fill_from_last(int64_t row) {
  if (row != size_ - 1) std::memcpy(const_cast<float*>((*this)[row]), (*this)[size_ - 1], stride_ * sizeof(float));
}

}  // namespace fastface
