// Face crops straight from NV12. rect [m, 4] int32 is half open and inside the displayed frame; one that is empty gives
// zeros. row [m] int64 says which frame, place [m] int64 where in the output the crop goes.
#include "frame.cuh"

namespace fastface {

// What a triangle filter as wide as the scale takes along one axis: n inputs to `size` outputs.
struct Axis {
  float scale, filter;
  int n;
  __device__ __forceinline__ Axis(int n, int size) : scale(static_cast<float>(n) / size), n(n) {
    filter = scale > 1.0f ? scale : 1.0f;
  }
  __device__ __forceinline__ float center(int i) const { return (i + 0.5f) * scale; }
  __device__ __forceinline__ int begin(float center) const { return max(static_cast<int>(center - filter + 0.5f), 0); }
  __device__ __forceinline__ int end(float center) const { return min(static_cast<int>(center + filter + 0.5f), n); }
  __device__ __forceinline__ float weight(int i, float center) const {
    const float away = i - center + 0.5f;
    return fmaxf(0.0f, 1.0f - fabsf(filter > 1.0f ? away / filter : away));
  }
};

// The crop's pixel number p. row_of(y) gives a row of the rectangle, of which (x, rgb) gives the colours of a pixel.
template <class Rows>
__device__ __forceinline__ void crop_pixel(const Axis& across, const Axis& down, int p, int size, Rows row_of,
                                           unsigned char* out) {
  const int oy = p / size, ox = p % size;
  const float cx = across.center(ox), cy = down.center(oy);
  const int xa = across.begin(cx), xb = across.end(cx), ya = down.begin(cy), yb = down.end(cy);
  float sum[3] = {0.0f, 0.0f, 0.0f}, total = 0.0f;
  for (int y = ya; y < yb; ++y) {
    const float wy = down.weight(y, cy);
    const auto pixel = row_of(y);
    for (int x = xa; x < xb; ++x) {
      const float weight = wy * across.weight(x, cx);
      int rgb[3];
      pixel(x, rgb);
      for (int c = 0; c < 3; ++c) sum[c] += weight * rgb[c];
      total += weight;
    }
  }
  for (int c = 0; c < 3; ++c)
    out[c * size * size + p] = total > 0.0f ? static_cast<unsigned char>(fminf(sum[c] / total + 0.5f, 255.0f)) : 0;
}

// Triangle filter as wide as the scale (Pillow's BILINEAR), rounded to bytes; [k, 3, size, size] uint8. Output i of n_out
// takes inputs [lo, hi) with weights 1 - |x - center| / filter, divided by their sum.
extern "C" __global__ void crop_triangle(const SAMPLE* data, const FrameGeometry* geometry, const long long* row,
                                         const int* rect, int size, const long long* place, unsigned char* out) {
  const FrameBatch frames(data, geometry);
  const int i = blockIdx.y;
  const int x0 = rect[4 * i], y0 = rect[4 * i + 1];
  const Axis across(rect[4 * i + 2] - x0, size), down(rect[4 * i + 3] - y0, size);
  unsigned char* const to = out + place[i] * 3 * size * size;
  const long long frame = row[i];
  const bool plain = frames.plain();
  for (int p = blockIdx.x * blockDim.x + threadIdx.x; p < size * size; p += gridDim.x * blockDim.x) {
    if (plain) {
      const auto row_of = [&](int y) {
        return
            [&frames, x0, coded = CodedRow(frames, frame, y0 + y)](int x, int* rgb) { coded.fetch(frames, x0 + x, rgb); };
      };
      crop_pixel(across, down, p, size, row_of, to);
    } else {
      const auto row_of = [&](int y) {
        return [&frames, frame, x0, y0, y](int x, int* rgb) { fetch_rgb(frames, frame, x0 + x, y0 + y, rgb); };
      };
      crop_pixel(across, down, p, size, row_of, to);
    }
  }
}

}  // namespace fastface
