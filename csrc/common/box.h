// Arithmetic on boxes [x1, y1, x2, y2], float32, pixels.
#pragma once

#include "common/hd.h"

namespace fastface {

#ifdef __CUDA_ARCH__  // one instruction in place of two; the same but for NaN
__device__ __forceinline__ float minf(float a, float b) { return fminf(a, b); }
__device__ __forceinline__ float maxf(float a, float b) { return fmaxf(a, b); }
#else
FASTFACE_HD float minf(float a, float b) { return a < b ? a : b; }
FASTFACE_HD float maxf(float a, float b) { return a > b ? a : b; }
#endif

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

// Whether iou(a, b), or overlap_min(a, b) if `minimum`, is above a threshold >= 0: the same answer, but most boxes do not
// touch, and few of those that do come near enough for the division to be needed.
FASTFACE_HD bool overlaps(const float* a, const float* b, float threshold, bool minimum) {
  const float more = minimum ? 1.0f : 0.0f;
  const float w = minf(a[2], b[2]) - maxf(a[0], b[0]) + more, h = minf(a[3], b[3]) - maxf(a[1], b[1]) + more;
  if (w <= 0.0f || h <= 0.0f) return false;
  const float area_a = (a[2] - a[0] + more) * (a[3] - a[1] + more);
  const float area_b = (b[2] - b[0] + more) * (b[3] - b[1] + more);
  const float inter = w * h, whole = minimum ? minf(area_a, area_b) : area_a + area_b - inter;
  if (inter < 0.999f * threshold * whole) return false;
  return (minimum ? overlap_min(a, b) : iou(a, b)) > threshold;
}

}  // namespace fastface
