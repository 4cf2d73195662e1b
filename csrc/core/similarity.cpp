#include "core/similarity.h"

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <stdexcept>

namespace fastface {

extern const Kernels kBaseline;
#ifdef FASTFACE_X86
extern const Kernels kAvx512, kAvx2;
#endif

namespace {

std::vector<const Kernels*> available() {
  std::vector<const Kernels*> out;
#ifdef FASTFACE_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    if (__builtin_cpu_supports("avx512f")) out.push_back(&kAvx512);
    out.push_back(&kAvx2);
  }
#endif
  out.push_back(&kBaseline);
  return out;
}

const Kernels* find(const std::string& name) {
  std::string has;
  for (const Kernels* level : available()) {
    if (name == level->name) return level;
    has += std::string(has.empty() ? "" : ", ") + level->name;
  }
  throw std::invalid_argument("SIMD level is '" + name + "', this machine has: " + has);
}

std::atomic<const Kernels*> level{nullptr};

}  // namespace

std::vector<std::string> simd_levels() {
  std::vector<std::string> out;
  for (const Kernels* each : available()) out.push_back(each->name);
  return out;
}

const Kernels& kernels() {
  const Kernels* now = level.load(std::memory_order_relaxed);
  if (now == nullptr) {
    const char* wanted = std::getenv("FASTFACE_SIMD");
    now = wanted && *wanted ? find(wanted) : available().front();
    level.store(now, std::memory_order_relaxed);
  }
  return *now;
}

void set_simd_level(const std::string& name) { level.store(find(name), std::memory_order_relaxed); }

float dot(const float* a, const float* b, int n) { return kernels().dot(a, b, n); }

float rounding_bound(int dim, double norms) {
  // A sum of n products, in any order and fused or not, is off by at most n / (1 - n u) u times the sum of magnitudes,
  // which is at most the norms' product; `dot` by that of its longest chain of additions.
  const double u = std::ldexp(1.0, -24), fast = dim + 17.0, fixed = dim / 16 + 6.0;
  return static_cast<float>(norms * u * (fast / (1.0 - fast * u) + fixed / (1.0 - fixed * u)) * 1.001 + 1e-35);
}

}  // namespace fastface
