// CUDA C++ for the CPU, as far as csrc/cuda uses it: a block's threads are coroutines that change at barriers and at what
// a warp does together. Included before each kernel's source.
//
// It finds wrong indices, missing lanes, reads of what was never written (shared memory begins as NaN) and, run with
// another order of the threads, missing barriers. It knows nothing of speed.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __shared__ static

struct uint2 {
  unsigned int x, y;
};
struct uint3 {
  unsigned int x, y, z;
};
struct alignas(16) uint4 {
  unsigned int x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline uint2 make_uint2(unsigned int x, unsigned int y) { return {x, y}; }
inline uint4 make_uint4(unsigned int x, unsigned int y, unsigned int z, unsigned int w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace simulated {

extern uint3 thread_index, block_index, block_size, grid_size;

void barrier();
// All lanes of the warp give a pointer; the last to come does the work for all of them.
void warp_wide(void* mine, void (*work)(void* const* lanes));
void* shared_memory();
unsigned int shared_offset(const void* p);
unsigned char* shared_at(unsigned int offset, unsigned int alignment);
// Runs `body` for all threads of all blocks. order: 0, warps and lanes as they are numbered; 1, from the last one on.
void run(uint3 grid, uint3 block, unsigned int shared_bytes, int order, void (*body)(void*), void* argument);

template <class... A>
void launch(void (*kernel)(A...), uint3 grid, uint3 block, unsigned int shared_bytes, int order, void** arguments) {
  struct Call {
    void (*kernel)(A...);
    void** arguments;
  } call = {kernel, arguments};
  run(
      grid, block, shared_bytes, order,
      [](void* p) {
        const Call& c = *static_cast<const Call*>(p);
        [&]<std::size_t... I>(std::index_sequence<I...>) {
          c.kernel(*static_cast<std::remove_cv_t<A>*>(c.arguments[I])...);
        }(std::index_sequence_for<A...>());
      },
      &call);
}

}  // namespace simulated

#define threadIdx simulated::thread_index
#define blockIdx simulated::block_index
#define blockDim simulated::block_size
#define gridDim simulated::grid_size

inline void __syncthreads() { simulated::barrier(); }
inline void __syncwarp(unsigned int = 0xffffffffu) {
  simulated::warp_wide(nullptr, [](void* const*) {});
}

template <class T>
T __shfl_sync(unsigned int, T value, int from) {
  struct Mine {
    T value, out;
    int from;
  } mine = {value, value, from};
  simulated::warp_wide(&mine, [](void* const* lanes) {
    for (int lane = 0; lane < 32; ++lane) {
      Mine& m = *static_cast<Mine*>(lanes[lane]);
      m.out = static_cast<const Mine*>(lanes[m.from & 31])->value;
    }
  });
  return mine.out;
}

template <class T>
T __shfl_xor_sync(unsigned int all, T value, int mask) {
  return __shfl_sync(all, value, static_cast<int>(threadIdx.x) ^ mask);
}

inline unsigned int __ballot_sync(unsigned int, int predicate) {
  struct Mine {
    int predicate;
    unsigned int out;
  } mine = {predicate, 0};
  simulated::warp_wide(&mine, [](void* const* lanes) {
    unsigned int bits = 0;
    for (int lane = 0; lane < 32; ++lane) bits |= (static_cast<const Mine*>(lanes[lane])->predicate != 0 ? 1u : 0u) << lane;
    for (int lane = 0; lane < 32; ++lane) static_cast<Mine*>(lanes[lane])->out = bits;
  });
  return mine.out;
}

template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T, class U>
T atomicAdd(T* p, U v) {
  const T old = *p;
  *p += v;
  return old;
}
template <class T, class U>
T atomicOr(T* p, U v) {
  const T old = *p;
  *p |= v;
  return old;
}
inline unsigned int __dp4a(unsigned int a, unsigned int b, unsigned int sum) {
  for (int i = 0; i < 32; i += 8) sum += (a >> i & 255u) * (b >> i & 255u);
  return sum;
}
inline unsigned int __byte_perm(unsigned int a, unsigned int b, unsigned int order) {
  const std::uint64_t both = a | static_cast<std::uint64_t>(b) << 32;
  unsigned int out = 0;
  for (int i = 0; i < 4; ++i) out |= static_cast<unsigned int>(both >> (order >> 4 * i & 7) * 8 & 255) << 8 * i;
  return out;
}
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline unsigned int __float_as_uint(float f) { return __builtin_bit_cast(unsigned int, f); }
inline float __uint_as_float(unsigned int u) { return __builtin_bit_cast(float, u); }
inline int __popc(unsigned int u) { return __builtin_popcount(u); }
inline int __ffs(unsigned int u) { return __builtin_ffs(static_cast<int>(u)); }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned int min(unsigned int a, unsigned int b) { return a < b ? a : b; }
inline unsigned int max(unsigned int a, unsigned int b) { return a > b ? a : b; }
inline long long min(long long a, long long b) { return a < b ? a : b; }
inline long long max(long long a, long long b) { return a > b ? a : b; }
