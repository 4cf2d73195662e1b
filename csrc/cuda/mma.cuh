// Tensor core instructions (compute capability 8.0 and later): D = A B + D with A [16, 16] and B [16, 8] in float16,
// D [16, 8] in float32, spread over a warp as the PTX manual (mma.m16n8k16) has it: lane 4 g + t holds of D (g, 2 t),
// (g, 2 t + 1), (g + 8, 2 t), (g + 8, 2 t + 1), of B (2 t, g), (2 t + 1, g) and (2 t + 8, g), (2 t + 9, g).
#pragma once

#include <cuda_fp16.h>

namespace fastface {

__device__ __forceinline__ unsigned int shared_address(const void* p) {
  return static_cast<unsigned int>(__cvta_generic_to_shared(p));
}

__device__ __forceinline__ void mma16816(float (&d)[4], const unsigned int (&a)[4], uint2 b) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.x), "r"(b.y));
}

// A [16, 16] from shared memory: lane i % 16 gives the address of row i % 16, lanes 16 to 31 that of its second half.
__device__ __forceinline__ void load_matrix(unsigned int (&a)[4], unsigned int address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
               : "r"(address));
}

// 16 bytes from device to shared memory without passing through registers; zeros if `inside` is false.
__device__ __forceinline__ void copy_async(unsigned int to, const void* from, bool inside) {
  const int bytes = inside ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;\n" ::: "memory"); }

__device__ __forceinline__ unsigned int pack_half2(float a, float b) {
  const __half2 h = __floats2half2_rn(a, b);
  return *reinterpret_cast<const unsigned int*>(&h);
}

}  // namespace fastface
