#include "core/quality.h"

#include <algorithm>
#include <cmath>

namespace fastface {
namespace {

// The nose of a frontal face lies halfway between the eyes; turned to profile, it moves over one of them.
float frontal(const float* landmarks) {
  const float across[2] = {landmarks[2] - landmarks[0], landmarks[3] - landmarks[1]};
  const float nose[2] = {landmarks[4] - landmarks[0], landmarks[5] - landmarks[1]};
  const float width = std::max(std::sqrt(across[0] * across[0] + across[1] * across[1]), 1e-3f);
  const float place = (nose[0] * across[0] + nose[1] * across[1]) / (width * width);
  const float out = 1.0f - 2.0f * std::abs(place - 0.5f);
  return std::isnan(out) ? 0.0f : std::clamp(out, 0.0f, 1.0f);
}

}  // namespace

void face_quality(const float* box, const float* score, const float* landmarks, const float* sharpness, int64_t n,
                  float width, float height, const QualitySettings& s, float* frontality, float* resolution,
                  float* quality) {
  for (int64_t i = 0; i < n; ++i, box += 4, landmarks += 10) {
    const float w = std::max(box[2] - box[0], 1.0f), h = std::max(box[3] - box[1], 1.0f), size = std::sqrt(w * h);
    frontality[i] = frontal(landmarks);
    // Laplacian energy falls with the square of the blur's width: its root says how many of the pixels are left.
    const float left = std::sqrt(std::clamp(sharpness[i] / s.sharp, 0.0f, 1.0f));
    resolution[i] = std::max(std::min(size, s.measured_at) * left, 1e-3f);
    const float sharp = sharpness[i] / (sharpness[i] + s.half_sharp);
    const float detail = std::max(std::min(size / s.full_size, 1.0f) * (0.3f + 0.7f * sharp), 1e-3f);
    const float seen_w = std::max(std::min(box[2], width) - std::max(box[0], 0.0f), 0.0f);
    const float seen_h = std::max(std::min(box[3], height) - std::max(box[1], 0.0f), 0.0f);
    const float seen = seen_w * seen_h / (w * h);
    quality[i] = std::max(detail * (0.3f + 0.7f * frontality[i]) * seen * seen * score[i], 1e-3f);
  }
}

void crop_rects(const float* box, int64_t n, int width, int height, double margin, int32_t* rect) {
  const int limit[2] = {width, height};
  for (int64_t i = 0; i < n; ++i, box += 4, rect += 4)
    for (int axis = 0; axis < 2; ++axis) {
      const double low = box[axis], high = box[axis + 2], grow = (high - low) * (margin / 2);
      const double most = limit[axis];
      const double first = std::clamp(std::trunc(low - grow), 0.0, most - 1);
      rect[axis] = static_cast<int32_t>(first);
      rect[axis + 2] = static_cast<int32_t>(std::clamp(std::trunc(high + grow), first + 1, most));
    }
}

}  // namespace fastface
