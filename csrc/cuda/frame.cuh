// NV12, P016 and RGB frames in device memory, read as RGB in display orientation.
//
// Compiled with SAMPLE (unsigned char or unsigned short: one sample of a plane) defined.
#pragma once

#include "common/area.h"
#include "common/color.h"

#ifndef SAMPLE
#define SAMPLE unsigned char
#endif

namespace fastface {

// Where the pixels of a batch of frames lie; fastface/gpu/frames.py packs the same struct.
struct FrameGeometry {
  long long frame_stride;  // samples from one frame to the next
  int pitch;               // samples from one row to the next
  int coded_width, coded_height;
  int uv_row;         // the row at which the interleaved U and V samples begin
  int width, height;  // as displayed: after rotation
  int rotation;       // degrees clockwise from coded to displayed: 0, 90, 180, 270
  int rgb;            // 1: samples are interleaved R, G, B, and there is no U and V
  YuvToRgb matrix;
};

struct FrameBatch : FrameGeometry {
  const SAMPLE* data;
  __device__ FrameBatch(const SAMPLE* samples, const FrameGeometry* geometry) : FrameGeometry(*geometry), data(samples) {}
  // NV12 that lies as it is displayed.
  __device__ __forceinline__ bool plain() const { return !rgb && rotation == 0; }
};

// The coded place of displayed pixel (x, y).
__device__ __forceinline__ void coded_place(const FrameBatch& f, int x, int y, int* cx, int* cy) {
  switch (f.rotation) {
    case 90:
      *cx = y;
      *cy = f.coded_height - 1 - x;
      break;
    case 180:
      *cx = f.coded_width - 1 - x;
      *cy = f.coded_height - 1 - y;
      break;
    case 270:
      *cx = f.coded_width - 1 - y;
      *cy = x;
      break;
    default: *cx = x; *cy = y;
  }
}

// A coded row of NV12: its luma, and the chroma that it shares with its neighbour.
struct CodedRow {
  const SAMPLE *luma, *chroma;
  __device__ __forceinline__ CodedRow(const FrameBatch& f, long long frame, int y)
      : luma(f.data + frame * f.frame_stride + static_cast<long long>(y) * f.pitch),
        chroma(f.data + frame * f.frame_stride + static_cast<long long>(f.uv_row + y / 2) * f.pitch) {}
  __device__ __forceinline__ void fetch(const FrameBatch& f, int x, int* rgb) const {
    const SAMPLE* const uv = chroma + (x & ~1);
    yuv_to_rgb(f.matrix, luma[x], uv[0], uv[1], rgb);
  }
};

__device__ __forceinline__ void fetch_rgb(const FrameBatch& f, long long frame, int x, int y, int* rgb) {
  int cx, cy;
  coded_place(f, x, y, &cx, &cy);
  if (f.rgb) {
    const SAMPLE* p = f.data + frame * f.frame_stride + static_cast<long long>(cy) * f.pitch + 3 * cx;
    rgb[0] = p[0];
    rgb[1] = p[1];
    rgb[2] = p[2];
    return;
  }
  CodedRow(f, frame, cy).fetch(f, cx, rgb);
}

// Means of R, G and B over displayed pixels [x1, x2) x [y1, y2). Whole numbers are added up (of up to 16 M pixels), as
// on the CPU, so that both round once.
__device__ __forceinline__ void mean_rgb(const FrameBatch& f, long long frame, int x1, int x2, int y1, int y2,
                                         float* mean) {
  unsigned int sum[3] = {0, 0, 0};
  for (int y = y1; y < y2; ++y)
    for (int x = x1; x < x2; ++x) {
      int rgb[3];
      fetch_rgb(f, frame, x, y, rgb);
      for (int c = 0; c < 3; ++c) sum[c] += rgb[c];
    }
  const float area = static_cast<float>((y2 - y1) * (x2 - x1));
  for (int c = 0; c < 3; ++c) mean[c] = __fdiv_rn(static_cast<float>(sum[c]), area);
}

}  // namespace fastface
