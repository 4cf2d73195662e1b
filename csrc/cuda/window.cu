// Windows of NV12 frames, brought to another size by Pillow's BICUBIC, rows first, as on the CPU.
#include "common/cubic.h"

namespace fastface {

constexpr int kThreads = 128, kRows = 32;

// Window v is [x1, y1, x2, y2] in samples of Y, of frame frame_of[v]; its place in the tables: 0 for Y, 1 for U and V.
struct Windows {
  const double* window;
  int width, height;  // of Y
  __device__ CubicSide side(int v, int chroma, int axis) const {
    const double half = chroma ? 2.0 : 1.0;
    const int whole = axis ? height : width, limit = chroma ? (whole + 1) / 2 : whole;
    return cubic_side(window[4 * v + axis] / half, window[4 * v + axis + 2] / half, limit);
  }
};

// What outputs are made of: of each window, of Y and of U and V, across and down, `longest` entries of 2 + most numbers:
// the first sample, how many, and their weights.
struct Taps {
  int* table;
  int longest, most;
  __device__ int* entry(int v, int chroma, int axis, int i) const {
    return table + (static_cast<long long>((v * 2 + chroma) * 2 + axis) * longest + i) * (2 + most);
  }
};

// Fills the table. grid: longest / kThreads, 4 V.
extern "C" __global__ void __launch_bounds__(kThreads)
    window_taps(const double* window, int width, int height, int out_width, int out_height, int* table, int longest,
                int most) {
  const Windows windows{window, width, height};
  const int v = blockIdx.y / 4, chroma = blockIdx.y / 2 % 2, axis = blockIdx.y % 2;
  const int n = (axis ? out_height : out_width) / (chroma ? 2 : 1), i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= n) return;
  const CubicTaps taps(windows.side(v, chroma, axis), i, n);
  int* const entry = Taps{table, longest, most}.entry(v, chroma, axis, i);
  entry[0] = taps.begin;
  entry[1] = taps.end - taps.begin;
  for (int k = taps.begin; k < taps.end; ++k) entry[2 + k - taps.begin] = taps.weight(k);
}

// Rows of the windows to temp [3 V][height][out_width], from the first row that a window takes. grid: out_width / kThreads,
// height / kRows, 3 V.
extern "C" __global__ void __launch_bounds__(kThreads)
    window_rows(const unsigned char* frames, int frame_bytes, int pitch, int width, int height, const int* frame_of,
                const double* window, int out_width, int* table, int longest, int most, unsigned char* temp) {
  const int v = blockIdx.z / 3, plane = blockIdx.z % 3, chroma = plane != 0, x = blockIdx.x * kThreads + threadIdx.x;
  if (x >= out_width / (chroma ? 2 : 1)) return;
  const Windows windows{window, width, height};
  const CubicSide across = windows.side(v, chroma, 0), down = windows.side(v, chroma, 1);
  const int* const entry = Taps{table, longest, most}.entry(v, chroma, 0, x);
  const int step = chroma ? 2 : 1;  // U and V are interleaved, below Y
  const unsigned char* const from = frames + static_cast<long long>(frame_of[v]) * frame_bytes +
                                    static_cast<long long>((chroma ? height : 0) + down.begin) * pitch +
                                    (across.begin + entry[0]) * step + (plane == 2);
  const int last = min(down.size, static_cast<int>(blockIdx.y + 1) * kRows);
  for (int y = blockIdx.y * kRows; y < last; ++y) {
    const unsigned char* const row = from + static_cast<long long>(y) * pitch;
    int sum = 1 << 21;
    for (int k = 0; k < entry[1]; ++k) sum += row[k * step] * entry[2 + k];
    temp[(static_cast<long long>(blockIdx.z) * height + y) * out_width + x] = cubic_sample(sum);
  }
}

// Columns of what window_rows made: out [V][out_height * 3 / 2 * out_width], planes of Y, U and V one after the other.
// grid: out_width / kThreads, out_height / kRows, 3 V.
extern "C" __global__ void __launch_bounds__(kThreads)
    window_columns(const unsigned char* temp, int height, int out_width, int out_height, int* table, int longest, int most,
                   unsigned char* out) {
  const int v = blockIdx.z / 3, plane = blockIdx.z % 3, chroma = plane != 0, x = blockIdx.x * kThreads + threadIdx.x;
  const int columns = out_width / (chroma ? 2 : 1), rows = out_height / (chroma ? 2 : 1);
  if (x >= columns) return;
  const unsigned char* const from = temp + static_cast<long long>(blockIdx.z) * height * out_width + x;
  const long long size = static_cast<long long>(out_width) * out_height;
  unsigned char* const to = out + v * (size + size / 2) + (chroma ? size + (plane - 1) * (size / 4) : 0) + x;
  const int last = min(rows, static_cast<int>(blockIdx.y + 1) * kRows);
  for (int y = blockIdx.y * kRows; y < last; ++y) {
    const int* const entry = Taps{table, longest, most}.entry(v, chroma, 1, y);
    int sum = 1 << 21;
    for (int k = 0; k < entry[1]; ++k) sum += from[static_cast<long long>(entry[0] + k) * out_width] * entry[2 + k];
    to[static_cast<long long>(y) * columns] = cubic_sample(sum);
  }
}

}  // namespace fastface
