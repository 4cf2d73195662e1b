// YUV to RGB, as ITU-T H.273 defines it: one set of coefficients per stream.
#pragma once

#include "common/hd.h"

namespace fastface {

// In units of 1 / 8192 and whole levels, each product rounded down by itself: the arithmetic of libswscale on x86, which
// OpenCV and FFmpeg users know, in integers, so that every processor gives the same bytes.
// shift: 13 for samples of 8 bits, 21 for the 16 bits of P016 (whose value stands in the high bits).
struct YuvToRgb {
  int y_offset, y_gain, r_v, g_u, g_v, b_u, center, shift;
};

FASTFACE_HD int clamp_byte(int x) { return x < 0 ? 0 : (x > 255 ? 255 : x); }

FASTFACE_HD void yuv_to_rgb(const YuvToRgb& m, int y, int u, int v, int* rgb) {
  const int luma = (m.y_gain * (y - m.y_offset)) >> m.shift, cb = u - m.center, cr = v - m.center;
  rgb[0] = clamp_byte(luma + ((m.r_v * cr) >> m.shift));
  rgb[1] = clamp_byte(luma + ((m.g_u * cb) >> m.shift) + ((m.g_v * cr) >> m.shift));
  rgb[2] = clamp_byte(luma + ((m.b_u * cb) >> m.shift));
}

}  // namespace fastface
