// Pillow's BICUBIC with a box, as its ImagingResample computes it: weights in double, then whole numbers of 22 bits.
#pragma once

#include "common/hd.h"

namespace fastface {

// What one side of a window takes of a plane: samples [begin, begin + size), and in these [low, high) is resampled.
struct CubicSide {
  int begin, size;
  float low, high;
};

// The side [from, to) of a window on a plane of `limit` samples, with `margin` samples more, as fastface/clip/view.py cuts
// it out for Pillow.
FASTFACE_HD CubicSide cubic_side(double from, double to, int limit) {
  constexpr int margin = 4;
  const int begin = static_cast<int>(from) - margin > 0 ? static_cast<int>(from) - margin : 0;
  const int end = static_cast<int>(to) + margin < limit ? static_cast<int>(to) + margin : limit;
  const double high = to - begin < end - begin ? to - begin : end - begin;
  return {begin, end - begin, static_cast<float>(from - begin), static_cast<float>(high)};
}

FASTFACE_HD double cubic(double x) {
  constexpr double a = -0.5;
  if (x < 0.0) x = -x;
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

// The samples that output i of n is made of, and their weights.
struct CubicTaps {
  double center, inverse, sum;
  int begin, end;

  FASTFACE_HD CubicTaps(const CubicSide& side, int i, int n) {
    const double scale = static_cast<double>(side.high - side.low) / n;
    const double stretch = scale < 1.0 ? 1.0 : scale, support = 2.0 * stretch;
    center = side.low + (i + 0.5) * scale;
    inverse = 1.0 / stretch;
    begin = static_cast<int>(center - support + 0.5);
    if (begin < 0) begin = 0;
    end = static_cast<int>(center + support + 0.5);
    if (end > side.size) end = side.size;
    sum = 0.0;
    for (int x = begin; x < end; ++x) sum += cubic((x - center + 0.5) * inverse);
  }

  // The weight of sample x, in units of 1 / 2^22.
  FASTFACE_HD int weight(int x) const {
    double w = cubic((x - center + 0.5) * inverse);
    if (sum != 0.0) w /= sum;
    return static_cast<int>(w < 0 ? -0.5 + w * (1 << 22) : 0.5 + w * (1 << 22));
  }
};

// A sum of samples times weights, which began at 1 << 21, as a sample.
FASTFACE_HD unsigned char cubic_sample(int sum) {
  sum >>= 22;
  return static_cast<unsigned char>(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

}  // namespace fastface
