// P-Net over every level of every frame in one launch, on tensor cores, in half precision: it only points at cells, which
// cells.cu then scores in float32. Nothing but the cells found is written to memory.
//
// A block of 8 warps computes 12 x 60 cells. All stages share one row length of 64, so that a pixel's neighbour (ky, kx) is
// always ky * 64 + kx further on; what a stage computes beyond its valid columns is garbage that no valid cell reads.
// In each stage a warp has 16 pixels of a row and goes down: so it loads a row of its input once for all rows of its output
// that see it.
#include "levels.cuh"
#include "rows.cuh"

namespace fastface {

constexpr int kThreads = 256, kRow = 64, kCellsX = 60, kCellsY = 12;
constexpr int kPooledRows = kCellsY + 4, kMiddleRows = kCellsY + 2;
constexpr int kInputColumns = 2 * kRow + 2, kInputRows = 2 * kPooledRows + 2;
constexpr int kInputBytes = kInputRows * kInputColumns * 8;  // 4 halfs a pixel
constexpr int kPooledStride = 20;                            // bytes: 10 halfs a pixel
constexpr int kPooledPixels = kPooledRows * kRow + 8;
// The second stage's output, 16 halfs a pixel: pixels four apart follow each other, the halves of every other four of them
// swapped, so that eight such pixels lie in different banks.
constexpr int kMiddlePart = (kMiddleRows * kRow / 4 + 1) * 32;
static_assert(4 * kMiddlePart <= kInputBytes, "it replaces the input");
static_assert(kInputBytes + kPooledPixels * kPooledStride == 56000, "what fastface/detect/cuda asks for");

// The weights as lanes hold them, and what float32 arithmetic needs; fastface/detect/cuda/weights.py packs the same struct.
struct ScanWeights {
  uint2 first[2][3][32];      // conv1, channels 0-7, of the left and the right pixel of a pool: [dx][ky]
  uint2 rest[4][32];          // conv1, channels 8 and 9 of all four pixels of a pool: [input row]
  uint2 second[3][2][2][32];  // conv2: [ky][half of the 30 inputs of a row][8 channels]
  uint2 third[9][4][32];      // conv3: [ky * 3 + kx][8 channels]
  float bias1[10], slope1[10], bias2[16], slope2[16], bias3[32], slope3[32], head[32], head_bias, unused[3];
};

// Where 8 channels of a pixel of the second stage's output are.
__device__ __forceinline__ int middle_at(int pixel, int half) {
  const int four = pixel >> 2;
  return (pixel & 3) * kMiddlePart + four * 32 + ((half ^ (four >> 2 & 1)) << 4);
}

// Appends the cells whose logit of a face (over that of none) reaches `least` to group frame * levels + level:
// tie[group * capacity + place] = level << 26 | cell. count goes on beyond the capacity, so that an overflow shows.
// grid.y is the frame.
extern "C" __global__ void __launch_bounds__(kThreads, 3)
    scan(const __half* canvas, const Level* levels, int level_count, const ScanWeights* weights, float least, int capacity,
         unsigned int* tie, int* count) {
  extern __shared__ __align__(16) unsigned char shared[];
  unsigned char* const pooled = shared + kInputBytes;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  const int frame = blockIdx.y;
  const int l = level_of<&Level::scan_block>(levels, level_count, blockIdx.x);
  const Level level = levels[l];
  const int block = blockIdx.x - level.scan_block;
  const int cell_y = block / level.scan_columns * kCellsY, cell_x = block % level.scan_columns * kCellsX;

  const __half* image = canvas + 4 * (level.offset + static_cast<long long>(frame) * level.height * level.stride);
  constexpr int kPairs = kInputColumns / 2;
  for (int row = threadIdx.x / kPairs, pair = threadIdx.x % kPairs; row < kInputRows;) {
    const int y = 2 * cell_y + row, x = 2 * (cell_x + pair);
    const bool inside = y < level.height && x < level.stride;
    copy_async(shared_address(shared) + (row * kInputColumns + 2 * pair) * 8,
               inside ? image + 4 * (static_cast<long long>(y) * level.stride + x) : image, inside);
    row += kThreads / kPairs;
    pair += kThreads % kPairs;
    if (pair >= kPairs) pair -= kPairs, ++row;
  }
  // Read with weights of zero, so it must be finite.
  for (int i = threadIdx.x; i < 8 * kPooledStride / 4; i += kThreads)
    reinterpret_cast<unsigned int*>(pooled + kPooledRows * kRow * kPooledStride)[i] = 0;
  wait_for_copies();
  __syncthreads();

  const int part = warp >> 2;
  // conv2 and conv3: rows g and g + 8 of a tile are pixels spread + 4 g of a row and the next.
  const int spread = (warp & 2) * 16 + (warp & 1) * 2;

  // conv1 (3 to 10 channels), PReLU and pooling: the four pixels that are pooled into one are in one thread.
  {
    uint2 first[2][3], rest[4];
    for (int dx = 0; dx < 2; ++dx)
      for (int ky = 0; ky < 3; ++ky) first[dx][ky] = weights->first[dx][ky][lane];
    for (int r = 0; r < 4; ++r) rest[r] = weights->rest[r][lane];
    const float bias_a = weights->bias1[2 * t], bias_b = weights->bias1[2 * t + 1];
    const float bias_c = weights->bias1[8], bias_d = weights->bias1[9];
    const __half2 slope_ab = prelu_slopes(weights->slope1[2 * t], weights->slope1[2 * t + 1]);
    const __half2 slope_cd = prelu_slopes(weights->slope1[8], weights->slope1[9]);
    const __half2 lowest = __floats2half2_rn(-6e4f, -6e4f);
    const int px = (warp & 3) * 16;
    unsigned int address =
        shared_address(shared) + (part * kPooledRows * kInputColumns + 2 * px) * 8 + ((lane & 15) + (lane >> 4)) * 16;
    unsigned int row[4][4];
    load_matrix(row[2], address);
    load_matrix(row[3], address + kInputColumns * 8);
#pragma unroll 2
    for (int py = part * kPooledRows / 2; py < (part + 1) * kPooledRows / 2; ++py) {
      float sum[2][2][4], tail[4] = {bias_c, bias_d, bias_c, bias_d};
#pragma unroll
      for (int k = 0; k < 16; ++k) (&sum[0][0][0])[k] = k % 2 ? bias_b : bias_a;
#pragma unroll
      for (int k = 0; k < 4; ++k) row[0][k] = row[2][k], row[1][k] = row[3][k];
      address += 2 * kInputColumns * 8;
      load_matrix(row[2], address);
      load_matrix(row[3], address + kInputColumns * 8);
#pragma unroll
      for (int r = 0; r < 4; ++r) {
#pragma unroll
        for (int dy = 0; dy < 2; ++dy)
          if (r - dy >= 0 && r - dy < 3) {
            mma16816(sum[dy][0], row[r], first[0][r - dy]);
            mma16816(sum[dy][1], row[r], first[1][r - dy]);
          }
        mma16816(tail, row[r], rest[r]);
      }
      // ceil_mode: pixels beyond the level do not take part. The first of a pool always does, so that all stays finite.
      const bool below = 2 * (cell_y + py) + 1 < level.height - 2;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int x = px + g + 8 * half, q = py * kRow + x;
        const bool right = 2 * (cell_x + x) + 1 < level.width - 2;
        __half2 best = lowest;
#pragma unroll
        for (int dy = 0; dy < 2; ++dy)
#pragma unroll
          for (int dx = 0; dx < 2; ++dx)
            if ((dy == 0 || below) && (dx == 0 || right)) {
              const float* const ab = sum[dy][dx] + 2 * half;
              best = __hmax2(best, prelu2(__floats2half2_rn(ab[0], ab[1]), slope_ab));
            }
        *reinterpret_cast<unsigned int*>(pooled + q * kPooledStride + 4 * t) = bits(best);
        // Of channels 8 and 9, thread t holds pixel (t / 2, t % 2) of the pool.
        const bool valid = (t < 2 || below) && ((t & 1) == 0 || right);
        unsigned int cd = bits(valid ? prelu2(__floats2half2_rn(tail[2 * half], tail[2 * half + 1]), slope_cd) : lowest);
        for (int step = 1; step < 4; step *= 2) {
          const unsigned int other = __shfl_xor_sync(0xffffffffu, cd, step);
          cd = bits(__hmax2(*reinterpret_cast<const __half2*>(&cd), *reinterpret_cast<const __half2*>(&other)));
        }
        if (t == half) *reinterpret_cast<unsigned int*>(pooled + q * kPooledStride + 16) = cd;
      }
    }
  }
  __syncthreads();

  // conv2 (10 to 16 channels): the 30 inputs of a row of the window lie side by side; two more meet weights of zero.
  unsigned char* const middle = shared;
  if (threadIdx.x < 16)  // windows of garbage reach over the last pixel by two
    *reinterpret_cast<unsigned int*>(middle + middle_at(kMiddleRows * kRow + threadIdx.x / 8, threadIdx.x / 4 & 1) +
                                     threadIdx.x % 4 * 4) = 0;
  {
    uint2 second[3][2][2];
    for (int ky = 0; ky < 3; ++ky)
      for (int s = 0; s < 2; ++s)
        for (int j = 0; j < 2; ++j) second[ky][s][j] = weights->second[ky][s][j][lane];
    float bias[2][2];
    __half2 slope[2];
    for (int j = 0; j < 2; ++j) {
      const int c = 8 * j + 2 * t;
      for (int i = 0; i < 2; ++i) bias[j][i] = weights->bias2[c + i];
      slope[j] = prelu_slopes(weights->slope2[c], weights->slope2[c + 1]);
    }
    constexpr int kRows = kMiddleRows / 2;
    const int q = part * kRows * kRow + spread + 4 * g;
    const unsigned char* const from = pooled + q * kPooledStride + 4 * t;
    float sum[3][2][4];
#pragma unroll
    for (int r = 0; r < kRows + 2; ++r) {
#pragma unroll
      for (int k = 0; k < 8; ++k) sum[r % 3][k / 4][k % 4] = bias[k / 4][k % 2];
      unsigned int a[2][4];
#pragma unroll
      for (int s = 0; s < 2; ++s)
#pragma unroll
        for (int k = 0; k < 4; ++k)
          a[s][k] = *reinterpret_cast<const unsigned int*>(from + (r * kRow + k % 2) * kPooledStride + s * 32 + k / 2 * 16);
#pragma unroll
      for (int s = 0; s < 2; ++s) add_row<kRows>(sum, r, a[s], [&](int ky, int j) { return second[ky][s][j]; });
      if (r < 2) continue;
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const float* const v = sum[(r - 2) % 3][j] + 2 * half;
          *reinterpret_cast<unsigned int*>(middle + middle_at(q + (r - 2) * kRow + half, j) + 4 * t) =
              bits(prelu2(__floats2half2_rn(v[0], v[1]), slope[j]));
        }
    }
  }
  __syncthreads();

  // conv3 (16 to 32 channels), PReLU and the difference of the two logits, which stays in float32: a warp computes half of
  // the channels, of all rows.
  float* const logits = reinterpret_cast<float*>(pooled);  // [part][kCellsY][kRow]
  static_assert(2 * kCellsY * kRow * 4 <= kPooledPixels * kPooledStride, "they replace the first stage's output");
  {
    uint2 third[9][2];
    float2 bias[2], slope[2], head[2];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int c = 8 * (2 * part + j) + 2 * t;
#pragma unroll
      for (int k = 0; k < 9; ++k) third[k][j] = weights->third[k][2 * part + j][lane];
      bias[j] = *reinterpret_cast<const float2*>(weights->bias3 + c);
      slope[j] = *reinterpret_cast<const float2*>(weights->slope3 + c);
      head[j] = *reinterpret_cast<const float2*>(weights->head + c);
    }
    unsigned int from[3];
#pragma unroll
    for (int kx = 0; kx < 3; ++kx)
      from[kx] = shared_address(middle) + middle_at(spread + 4 * (lane & 7) + (lane >> 3 & 1) + kx, lane >> 4);
    float sum[3][2][4];
#pragma unroll
    for (int r = 0; r < kCellsY + 2; ++r) {
#pragma unroll
      for (int k = 0; k < 8; ++k) sum[r % 3][k / 4][k % 4] = k % 2 ? bias[k / 4].y : bias[k / 4].x;
#pragma unroll
      for (int kx = 0; kx < 3; ++kx) {
        unsigned int a[4];
        load_matrix(a, from[kx] + r * (kRow / 4 * 32));
        add_row<kCellsY>(sum, r, a, [&](int ky, int j) { return third[ky * 3 + kx][j]; });
      }
      if (r < 2) continue;
      float logit[2] = {0.0f, 0.0f};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const float* const v = sum[(r - 2) % 3][j] + 2 * half;
          logit[half] = fmaf(prelu(v[0], slope[j].x), head[j].x, logit[half]);
          logit[half] = fmaf(prelu(v[1], slope[j].y), head[j].y, logit[half]);
        }
        logit[half] += __shfl_xor_sync(0xffffffffu, logit[half], 1);
        logit[half] += __shfl_xor_sync(0xffffffffu, logit[half], 2);
      }
      if (t < 2) logits[(part * kCellsY + r - 2) * kRow + spread + 4 * g + t] = t ? logit[1] : logit[0];
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kCellsY * kRow; i += kThreads) {
    const int x = i % kRow, y = i / kRow;
    if (x < kCellsX && cell_x + x < level.columns && cell_y + y < level.rows &&
        logits[i] + logits[kCellsY * kRow + i] + __ldg(&weights->head_bias) >= least) {
      const int group = frame * level_count + l;
      const int place = atomicAdd(count + group, 1);
      if (place < capacity)
        tie[static_cast<long long>(group) * capacity + place] =
            static_cast<unsigned int>(l) << 26 | static_cast<unsigned int>((cell_y + y) * level.columns + cell_x + x);
    }
  }
}

}  // namespace fastface
