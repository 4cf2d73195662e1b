// YUV to RGB, as ITU-T H.273 defines it: one set of coefficients per stream.
#pragma once

#include "common/hd.h"

namespace fastface {

// r = y_gain * (y - y_offset) + r_v * v',  g = ... + g_u * u' + g_v * v',  b = ... + b_u * u',
// with u' = u - center, v' = v - center; results in [0, 255] whatever the depth of the samples.
struct YuvToRgb {
  float y_offset, y_gain, r_v, g_u, g_v, b_u, center;
};

FASTFACE_HD float clamp_byte(float x) { return x < 0.0f ? 0.0f : (x > 255.0f ? 255.0f : x); }

// One pixel, rounded to whole levels: the same values that an RGB frame on the CPU holds.
FASTFACE_HD void yuv_to_rgb(const YuvToRgb& m, float y, float u, float v, float* rgb) {
  const float luma = m.y_gain * (y - m.y_offset), cb = u - m.center, cr = v - m.center;
  rgb[0] = static_cast<float>(static_cast<int>(clamp_byte(luma + m.r_v * cr) + 0.5f));
  rgb[1] = static_cast<float>(static_cast<int>(clamp_byte(luma + m.g_u * cb + m.g_v * cr) + 0.5f));
  rgb[2] = static_cast<float>(static_cast<int>(clamp_byte(luma + m.b_u * cb) + 0.5f));
}

}  // namespace fastface
