// Pictures to smaller pictures. Sources are [n, height, width, 3] uint8 RGB, contiguous.
#pragma once

#include <cstdint>

#include "common/color.h"

namespace fastface {

struct Frames {
  const uint8_t* data;
  int64_t n;
  int height, width;
  const uint8_t* row(int64_t i, int y) const { return data + ((i * height + y) * width) * 3; }
};

// Each frame to out_h x out_w by area resampling, scaled for MTCNN; out [n, 3, out_h, out_w].
void resize_area(const Frames& frames, int out_h, int out_w, float* out, int threads);

// Rectangles [x1, x2) x [y1, y2) (int32, inside the frame, not empty) to size x size by area resampling, scaled for
// MTCNN; row [m]: which frame; out [m, 3, size, size].
void crop_area(const Frames& frames, const int64_t* row, const int32_t* rect, int64_t m, int size, float* out, int threads);

// The same rectangles to size x size by a triangle filter as wide as the scale (Pillow's BILINEAR), rounded to uint8;
// out [m, 3, size, size].
void crop_triangle(const Frames& frames, const int64_t* row, const int32_t* rect, int64_t m, int size, uint8_t* out,
                   int threads);

// Per rectangle: an 8 x 8 grey thumbnail of zero mean and unit norm (zeros if flat), appearance [m, 64], and the energy
// of the Laplacian over the variance at 64 x 64, sharpness [m] (0 if flat).
void describe_faces(const Frames& frames, const int64_t* row, const int32_t* rect, int64_t m, float* appearance,
                    float* sharpness, int threads);

// 4:2:0 frames to RGB, in the very arithmetic of the GPU's kernels: chroma is taken from the nearest sample.
// y [height, y_pitch] and u, v (element (cy, cx) at cy * uv_pitch + cx * uv_step) hold samples of type T; out [height,
// width, 3]. Instantiated for uint8_t and uint16_t.
template <class T>
void yuv420_to_rgb(const T* y, int64_t y_pitch, const T* u, const T* v, int64_t uv_pitch, int uv_step, int width,
                   int height, const YuvToRgb& matrix, uint8_t* out, int threads);

}  // namespace fastface
