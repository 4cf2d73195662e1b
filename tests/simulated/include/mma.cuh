// What csrc/cuda/mma.cuh does with instructions of the GPU, after their description in the PTX manual (mma.m16n8k16,
// ldmatrix.x4, cp.async): found in its place when the kernels are compiled for the CPU.
#pragma once

#include <cuda_fp16.h>

#include <cstring>

namespace fastface {

using simulated::warp_wide;

inline unsigned int shared_address(const void* p) { return simulated::shared_offset(p); }

inline void mma16816(float (&d)[4], const unsigned int (&a)[4], uint2 b) {
  struct Mine {
    float* d;
    const unsigned int* a;
    unsigned int b[2];
  } mine = {d, a, {b.x, b.y}};
  warp_wide(&mine, [](void* const* lanes) {
    static float left[16][16], right[16][8];
    for (int lane = 0; lane < 32; ++lane) {
      const Mine& m = *static_cast<const Mine*>(lanes[lane]);
      const int g = lane >> 2, t = lane & 3;
      for (int i = 0; i < 4; ++i) {
        const __half2 pair = __half2_of(m.a[i]);
        const int row = g + 8 * (i & 1), k = 2 * t + 8 * (i >> 1);
        left[row][k] = __half2float(pair.x);
        left[row][k + 1] = __half2float(pair.y);
      }
      for (int i = 0; i < 2; ++i) {
        const __half2 pair = __half2_of(m.b[i]);
        right[2 * t + 8 * i][g] = __half2float(pair.x);
        right[2 * t + 8 * i + 1][g] = __half2float(pair.y);
      }
    }
    for (int lane = 0; lane < 32; ++lane) {
      float* out = static_cast<const Mine*>(lanes[lane])->d;
      for (int i = 0; i < 4; ++i) {
        const int row = (lane >> 2) + 8 * (i >> 1), column = 2 * (lane & 3) + (i & 1);
        double sum = out[i];  // the GPU's sums are not rounded after each product, either
        for (int k = 0; k < 16; ++k) sum += static_cast<double>(left[row][k]) * right[k][column];
        out[i] = static_cast<float>(sum);
      }
    }
  });
}

inline void load_matrix(unsigned int (&a)[4], unsigned int address) {
  struct Mine {
    unsigned int* a;
    unsigned int address;
  } mine = {a, address};
  warp_wide(&mine, [](void* const* lanes) {
    for (int lane = 0; lane < 32; ++lane)
      for (int i = 0; i < 4; ++i) {
        const unsigned int row = static_cast<const Mine*>(lanes[8 * i + (lane >> 2)])->address;
        std::memcpy(static_cast<const Mine*>(lanes[lane])->a + i, simulated::shared_at(row, 16) + 4 * (lane & 3), 4);
      }
  });
}

inline void copy_async(unsigned int to, const void* from, bool inside) {
  if (inside)
    std::memcpy(simulated::shared_at(to, 16), from, 16);
  else
    std::memset(simulated::shared_at(to, 16), 0, 16);
}

inline void wait_for_copies() {}

inline unsigned int pack_half2(float a, float b) { return __builtin_bit_cast(unsigned int, __floats2half2_rn(a, b)); }

}  // namespace fastface
