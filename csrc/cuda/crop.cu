// Face crops straight from NV12. rect [m, 4] int32 is half open and inside the displayed frame; one that is empty gives
// zeros. row [m] int64 says which frame, place [m] int64 where in the output the crop goes.
#include "frame.cuh"

namespace fastface {

// Triangle filter as wide as the scale (Pillow's BILINEAR), rounded to bytes; [k, 3, size, size] uint8. Output i of n_out
// takes inputs [lo, hi) with weights 1 - |x - center| / filter, divided by their sum.
extern "C" __global__ void crop_triangle(const SAMPLE* data, const FrameGeometry* geometry, const long long* row,
                                         const int* rect, int size, const long long* place, unsigned char* out) {
  const FrameBatch frames(data, geometry);
  const int i = blockIdx.y;
  const int x0 = rect[4 * i], y0 = rect[4 * i + 1], w = rect[4 * i + 2] - x0, h = rect[4 * i + 3] - y0;
  for (int p = blockIdx.x * blockDim.x + threadIdx.x; p < size * size; p += gridDim.x * blockDim.x) {
    const int oy = p / size, ox = p % size;
    const float sx = static_cast<float>(w) / size, sy = static_cast<float>(h) / size;
    const float fx = sx > 1.0f ? sx : 1.0f, fy = sy > 1.0f ? sy : 1.0f;
    const float cx = (ox + 0.5f) * sx, cy = (oy + 0.5f) * sy;
    const int xa = max(static_cast<int>(cx - fx + 0.5f), 0), xb = min(static_cast<int>(cx + fx + 0.5f), w);
    const int ya = max(static_cast<int>(cy - fy + 0.5f), 0), yb = min(static_cast<int>(cy + fy + 0.5f), h);
    float sum[3] = {0.0f, 0.0f, 0.0f}, total = 0.0f;
    for (int y = ya; y < yb; ++y) {
      const float wy = fmaxf(0.0f, 1.0f - fabsf((y - cy + 0.5f) / fy));
      for (int x = xa; x < xb; ++x) {
        const float weight = wy * fmaxf(0.0f, 1.0f - fabsf((x - cx + 0.5f) / fx));
        int rgb[3];
        fetch_rgb(frames, row[i], x0 + x, y0 + y, rgb);
        for (int c = 0; c < 3; ++c) sum[c] += weight * rgb[c];
        total += weight;
      }
    }
    for (int c = 0; c < 3; ++c)
      out[((place[i] * 3 + c) * size + oy) * size + ox] =
          total > 0.0f ? static_cast<unsigned char>(fminf(sum[c] / total + 0.5f, 255.0f)) : 0;
  }
}

}  // namespace fastface
