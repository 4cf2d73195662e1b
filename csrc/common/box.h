// Arithmetic on boxes [x1, y1, x2, y2], float32, pixels.
#pragma once

#include "common/hd.h"

namespace fastface {

FASTFACE_HD float minf(float a, float b) { return a < b ? a : b; }
FASTFACE_HD float maxf(float a, float b) { return a > b ? a : b; }

// Intersection over union in [0, 1], as torchvision.ops.nms computes it: areas without + 1.
FASTFACE_HD float iou(const float* a, const float* b) {
  const float w = maxf(0.0f, minf(a[2], b[2]) - maxf(a[0], b[0]));
  const float h = maxf(0.0f, minf(a[3], b[3]) - maxf(a[1], b[1]));
  const float inter = w * h;
  const float area_a = (a[2] - a[0]) * (a[3] - a[1]);
  const float area_b = (b[2] - b[0]) * (b[3] - b[1]);
  return inter / (area_a + area_b - inter);
}

// Intersection over the smaller area, as MTCNN's last suppression computes it: sides with + 1.
FASTFACE_HD float overlap_min(const float* a, const float* b) {
  const float w = maxf(0.0f, minf(a[2], b[2]) - maxf(a[0], b[0]) + 1.0f);
  const float h = maxf(0.0f, minf(a[3], b[3]) - maxf(a[1], b[1]) + 1.0f);
  const float area_a = (a[2] - a[0] + 1.0f) * (a[3] - a[1] + 1.0f);
  const float area_b = (b[2] - b[0] + 1.0f) * (b[3] - b[1] + 1.0f);
  return w * h / minf(area_a, area_b);
}

}  // namespace fastface
