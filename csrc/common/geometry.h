// MTCNN's arithmetic on boxes; fastface/detect/geometry.py has the same in torch. Every product is rounded before it is
// added, as torch does.
#pragma once

#include "common/box.h"

namespace fastface {

// Moves the corners of a box by offsets in box sizes; inclusive sides count both end pixels (R- and O-Net).
FASTFACE_HD void refine(const float* box, const float* offsets, bool inclusive, float* out) {
  const float more = inclusive ? 1.0f : 0.0f;
  const float w = box[2] - box[0] + more, h = box[3] - box[1] + more;
  out[0] = box[0] + offsets[0] * w;
  out[1] = box[1] + offsets[1] * h;
  out[2] = box[2] + offsets[2] * w;
  out[3] = box[3] + offsets[3] * h;
}

// The square around a box's centre with its longer side.
FASTFACE_HD void square(const float* box, float* out) {
  const float w = box[2] - box[0], h = box[3] - box[1];
  const float side = maxf(w, h);
  const float x = box[0] + w * 0.5f - side * 0.5f, y = box[1] + h * 0.5f - side * 0.5f;
  out[0] = x;
  out[1] = y;
  out[2] = x + side;
  out[3] = y + side;
}

// The pixels that facenet-pytorch crops for a box: half open, cut to the picture. False if there are none.
FASTFACE_HD bool pixel_rect(const float* box, int width, int height, int* rect) {
  const int x1 = static_cast<int>(box[0]), y1 = static_cast<int>(box[1]);
  const int x2 = static_cast<int>(box[2]), y2 = static_cast<int>(box[3]);
  rect[0] = (x1 < 1 ? 1 : x1) - 1;
  rect[1] = (y1 < 1 ? 1 : y1) - 1;
  rect[2] = x2 < width ? x2 : width;
  rect[3] = y2 < height ? y2 : height;
  return rect[2] > rect[0] && rect[3] > rect[1];
}

}  // namespace fastface
