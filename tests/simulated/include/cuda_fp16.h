// float16 as CUDA's header of this name has it, as far as csrc/cuda uses it.
#pragma once

#include <cmath>

struct __half {
  _Float16 value;
};

struct __half2 {
  __half x, y;
};

inline __half __float2half_rn(float f) { return {static_cast<_Float16>(f)}; }
inline float __half2float(__half h) { return static_cast<float>(h.value); }
inline __half2 __floats2half2_rn(float a, float b) { return {__float2half_rn(a), __float2half_rn(b)}; }
inline __half2 __hmax2(__half2 a, __half2 b) {
  return __floats2half2_rn(fmaxf(__half2float(a.x), __half2float(b.x)), fmaxf(__half2float(a.y), __half2float(b.y)));
}
inline __half2 __hmin2(__half2 a, __half2 b) {
  return __floats2half2_rn(fminf(__half2float(a.x), __half2float(b.x)), fminf(__half2float(a.y), __half2float(b.y)));
}
// Rounded once: the products of two halfs, and their sums with a third, are exact in float64.
inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) {
  const auto one = [](__half p, __half q, __half r) {
    return static_cast<__half>(static_cast<double>(__half2float(p)) * __half2float(q) + __half2float(r));
  };
  return {one(a.x, b.x, c.x), one(a.y, b.y, c.y)};
}
inline float __low2float(__half2 h) { return __half2float(h.x); }
inline float __high2float(__half2 h) { return __half2float(h.y); }
inline __half2 __half2_of(unsigned int bits) { return __builtin_bit_cast(__half2, bits); }
