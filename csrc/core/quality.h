// How well faces can be recognised, and which pixels of a frame show them.
#pragma once

#include <cstdint>

namespace fastface {

struct QualitySettings {
  float full_size;    // pixels: a face this large loses nothing that the embedder could use
  float measured_at;  // pixels: side at which sharpness is measured
  float sharp;        // sharpness of a face whose every pixel is sharp
  float half_sharp;   // sharpness at which a face counts as half sharp
};

// box [n, 4] xyxy, score [n], landmarks [n, 5, 2], sharpness [n] of faces in a picture of width x height
// -> frontality [n] in [0, 1], resolution [n] in (0, measured_at] pixels, quality [n] in (0, 1]. See embed/quality.py.
void face_quality(const float* box, const float* score, const float* landmarks, const float* sharpness, int64_t n,
                  float width, float height, const QualitySettings& settings, float* frontality, float* resolution,
                  float* quality);

// The rectangles of faces [n, 4], half open, with `margin` of their sides more, cut to the picture, at least one pixel.
void crop_rects(const float* box, int64_t n, int width, int height, double margin, int32_t* rect);

}  // namespace fastface
