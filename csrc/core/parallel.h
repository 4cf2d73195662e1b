// A loop over independent items on a few threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace fastface {

// Calls body(i) for i in [0, n) on up to `threads` threads; returns when all are done. body must not throw.
template <class Body>
void parallel_for(int64_t n, int threads, const Body& body) {
  const int64_t workers = std::min<int64_t>(std::max(threads, 1), n);
  std::atomic<int64_t> next{0};
  const auto work = [&] {
    for (int64_t i = next++; i < n; i = next++) body(i);
  };
  std::vector<std::thread> pool;
  for (int64_t w = 1; w < workers; ++w) pool.emplace_back(work);
  work();
  for (auto& t : pool) t.join();
}

}  // namespace fastface
