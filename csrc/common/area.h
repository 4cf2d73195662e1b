// Area resampling as torch.nn.functional.interpolate(mode="area") defines it (adaptive average pooling):
// output i of n_out is the plain mean of the inputs [begin, end), and windows may overlap by one input.
#pragma once

#include "common/hd.h"

namespace fastface {

// First input of the window of output i: floor(i * n_in / n_out).
FASTFACE_HD int area_begin(int i, int n_in, int n_out) {
  return static_cast<int>(static_cast<long long>(i) * n_in / n_out);
}

// One past the last input of the window of output i: ceil((i + 1) * n_in / n_out).
FASTFACE_HD int area_end(int i, int n_in, int n_out) {
  return static_cast<int>((static_cast<long long>(i + 1) * n_in + n_out - 1) / n_out);
}

// MTCNN's input scaling, from [0, 255] to about [-1, 1].
FASTFACE_HD float mtcnn_scale(float value) { return (value - 127.5f) * 0.0078125f; }

// BT.601 luma of full-range RGB.
FASTFACE_HD float luma(float r, float g, float b) { return 0.299f * r + 0.587f * g + 0.114f * b; }

}  // namespace fastface
