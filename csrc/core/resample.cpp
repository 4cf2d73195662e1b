#include "core/resample.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/area.h"
#include "core/parallel.h"

namespace fastface {
namespace {

// Sums of source rows [y1, y2) over columns [x1, x2), three channels interleaved; exact in uint32 up to 16 M rows.
void sum_rows(const Frames& frames, int64_t frame, int y1, int y2, int x1, int x2, std::vector<uint32_t>& sums) {
  const int n = (x2 - x1) * 3;
  sums.assign(n, 0);
  uint32_t* s = sums.data();
  for (int y = y1; y < y2; ++y) {
    const uint8_t* src = frames.row(frame, y) + x1 * 3;
    for (int k = 0; k < n; ++k) s[k] += src[k];
  }
}

// Area resampling of one rectangle; emit(y, x, r, g, b) receives the means in [0, 255].
template <class Emit>
void area_means(const Frames& frames, int64_t frame, const int32_t* rect, int out_h, int out_w, const Emit& emit) {
  const int x1 = rect[0], y1 = rect[1], w = rect[2] - rect[0], h = rect[3] - rect[1];
  std::vector<uint32_t> sums;
  for (int oy = 0; oy < out_h; ++oy) {
    const int begin_y = area_begin(oy, h, out_h), end_y = area_end(oy, h, out_h);
    sum_rows(frames, frame, y1 + begin_y, y1 + end_y, x1, x1 + w, sums);
    for (int ox = 0; ox < out_w; ++ox) {
      const int begin_x = area_begin(ox, w, out_w), end_x = area_end(ox, w, out_w);
      uint64_t r = 0, g = 0, b = 0;
      for (int x = begin_x; x < end_x; ++x) {
        r += sums[3 * x];
        g += sums[3 * x + 1];
        b += sums[3 * x + 2];
      }
      const float area = static_cast<float>((end_y - begin_y) * (end_x - begin_x));
      emit(oy, ox, static_cast<float>(r) / area, static_cast<float>(g) / area, static_cast<float>(b) / area);
    }
  }
}

void area_to_planes(const Frames& frames, int64_t frame, const int32_t* rect, int out_h, int out_w, float* out) {
  const int64_t plane = static_cast<int64_t>(out_h) * out_w;
  area_means(frames, frame, rect, out_h, out_w, [&](int y, int x, float r, float g, float b) {
    float* p = out + static_cast<int64_t>(y) * out_w + x;
    p[0] = mtcnn_scale(r);
    p[plane] = mtcnn_scale(g);
    p[2 * plane] = mtcnn_scale(b);
  });
}

// Weights of Pillow's BILINEAR for one axis: output i takes inputs [first[i], first[i] + count[i]).
struct Triangle {
  std::vector<int> first, count;
  std::vector<float> weight;
  int widest;

  Triangle(int n_in, int n_out) : first(n_out), count(n_out) {
    const double scale = static_cast<double>(n_in) / n_out, filter = std::max(scale, 1.0);
    widest = static_cast<int>(std::ceil(filter)) * 2 + 1;
    weight.assign(static_cast<size_t>(n_out) * widest, 0.0f);
    for (int i = 0; i < n_out; ++i) {
      const double center = (i + 0.5) * scale;
      const int lo = std::max(static_cast<int>(center - filter + 0.5), 0);
      const int hi = std::min(static_cast<int>(center + filter + 0.5), n_in);
      double total = 0.0;
      for (int x = lo; x < hi; ++x) total += std::max(0.0, 1.0 - std::abs((x - center + 0.5) / filter));
      for (int x = lo; x < hi; ++x)
        weight[static_cast<size_t>(i) * widest + (x - lo)] =
            static_cast<float>(std::max(0.0, 1.0 - std::abs((x - center + 0.5) / filter)) / total);
      first[i] = lo;
      count[i] = hi - lo;
    }
  }
  const float* of(int i) const { return weight.data() + static_cast<size_t>(i) * widest; }
};

}  // namespace

void resize_area(const Frames& frames, int out_h, int out_w, float* out, int threads) {
  const int32_t whole[4] = {0, 0, frames.width, frames.height};
  parallel_for(frames.n, threads, [&](int64_t i) {
    area_to_planes(frames, i, whole, out_h, out_w, out + i * 3 * static_cast<int64_t>(out_h) * out_w);
  });
}

void crop_area(const Frames& frames, const int64_t* row, const int32_t* rect, int64_t m, int size, float* out,
               int threads) {
  parallel_for(m, threads,
               [&](int64_t i) { area_to_planes(frames, row[i], rect + 4 * i, size, size, out + i * 3 * size * size); });
}

void crop_triangle(const Frames& frames, const int64_t* row, const int32_t* rect, int64_t m, int size, uint8_t* out,
                   int threads) {
  parallel_for(m, threads, [&](int64_t i) {
    const int32_t* box = rect + 4 * i;
    const int w = box[2] - box[0], h = box[3] - box[1];
    const Triangle across(w, size), down(h, size);
    std::vector<float> narrow(static_cast<size_t>(h) * size * 3);  // [h, size, 3]
    for (int y = 0; y < h; ++y) {
      const uint8_t* src = frames.row(row[i], box[1] + y) + box[0] * 3;
      float* dst = narrow.data() + static_cast<size_t>(y) * size * 3;
      for (int x = 0; x < size; ++x) {
        float sum[3] = {0.0f, 0.0f, 0.0f};
        const float* weight = across.of(x);
        for (int k = 0; k < across.count[x]; ++k)
          for (int c = 0; c < 3; ++c) sum[c] += weight[k] * src[3 * (across.first[x] + k) + c];
        for (int c = 0; c < 3; ++c) dst[3 * x + c] = sum[c];
      }
    }
    std::vector<float> line(static_cast<size_t>(size) * 3);
    for (int y = 0; y < size; ++y) {
      std::fill(line.begin(), line.end(), 0.0f);
      const float* weight = down.of(y);
      for (int k = 0; k < down.count[y]; ++k) {
        const float* src = narrow.data() + static_cast<size_t>(down.first[y] + k) * size * 3;
        for (int j = 0; j < size * 3; ++j) line[j] += weight[k] * src[j];
      }
      for (int x = 0; x < size; ++x)
        for (int c = 0; c < 3; ++c)
          out[((i * 3 + c) * size + y) * size + x] =
              static_cast<uint8_t>(std::min(std::max(line[3 * x + c] + 0.5f, 0.0f), 255.0f));
    }
  });
}

void describe_faces(const Frames& frames, const int64_t* row, const int32_t* rect, int64_t m, float* appearance,
                    float* sharpness, int threads) {
  constexpr int kFine = 64, kCoarse = 8, kBlock = kFine / kCoarse;
  parallel_for(m, threads, [&](int64_t i) {
    std::vector<float> grey(kFine * kFine);
    area_means(frames, row[i], rect + 4 * i, kFine, kFine,
               [&](int y, int x, float r, float g, float b) { grey[y * kFine + x] = luma(r, g, b); });

    float* look = appearance + i * kCoarse * kCoarse;
    double mean = 0.0;
    for (int cell = 0; cell < kCoarse * kCoarse; ++cell) {
      const int y0 = cell / kCoarse * kBlock, x0 = cell % kCoarse * kBlock;
      double sum = 0.0;
      for (int y = y0; y < y0 + kBlock; ++y)
        for (int x = x0; x < x0 + kBlock; ++x) sum += grey[y * kFine + x];
      look[cell] = static_cast<float>(sum / (kBlock * kBlock));
      mean += look[cell] / (kCoarse * kCoarse);
    }
    double norm = 0.0;
    for (int cell = 0; cell < kCoarse * kCoarse; ++cell) {
      look[cell] -= static_cast<float>(mean);
      norm += static_cast<double>(look[cell]) * look[cell];
    }
    norm = std::sqrt(norm);
    // Under a tenth of a grey level per cell there is nothing but noise.
    for (int cell = 0; cell < kCoarse * kCoarse; ++cell)
      look[cell] = norm > 0.8 ? static_cast<float>(look[cell] / norm) : 0.0f;

    double energy = 0.0, variance = 0.0;
    for (int y = 1; y < kFine - 1; ++y)
      for (int x = 1; x < kFine - 1; ++x) {
        const float* p = grey.data() + y * kFine + x;
        const double lap = 4.0 * p[0] - p[-1] - p[1] - p[-kFine] - p[kFine];
        energy += lap * lap;
        variance += (p[0] - mean) * (p[0] - mean);
      }
    const double inner = (kFine - 2) * (kFine - 2);
    sharpness[i] = variance / inner > 0.25 ? static_cast<float>(energy / variance) : 0.0f;
  });
}

template <class T>
void yuv420_to_rgb(const T* y, int64_t y_pitch, const T* u, const T* v, int64_t uv_pitch, int uv_step, int width,
                   int height, const YuvToRgb& matrix, uint8_t* out, int threads) {
  parallel_for((height + 1) / 2, threads, [&](int64_t pair) {
    // Two rows share their chroma.
    std::vector<int> cb(width), cr(width);
    for (int x = 0; x < width; ++x) {
      cb[x] = u[pair * uv_pitch + x / 2 * uv_step];
      cr[x] = v[pair * uv_pitch + x / 2 * uv_step];
    }
    for (int row = static_cast<int>(2 * pair); row < std::min<int>(2 * pair + 2, height); ++row) {
      const T* luma = y + row * y_pitch;
      uint8_t* dst = out + static_cast<int64_t>(row) * width * 3;
      for (int x = 0; x < width; ++x) {
        int rgb[3];
        yuv_to_rgb(matrix, luma[x], cb[x], cr[x], rgb);
        for (int c = 0; c < 3; ++c) dst[3 * x + c] = static_cast<uint8_t>(rgb[c]);
      }
    }
  });
}

template void yuv420_to_rgb<uint8_t>(const uint8_t*, int64_t, const uint8_t*, const uint8_t*, int64_t, int, int, int,
                                     const YuvToRgb&, uint8_t*, int);
template void yuv420_to_rgb<uint16_t>(const uint16_t*, int64_t, const uint16_t*, const uint16_t*, int64_t, int, int, int,
                                      const YuvToRgb&, uint8_t*, int);

}  // namespace fastface
