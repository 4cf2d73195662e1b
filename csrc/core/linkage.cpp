#include "core/linkage.h"

#include <set>

#include "core/similarity.h"

namespace fastface {

Clusters average_linkage(const float* sums, const float* weights, int64_t n, int dim, const int64_t* apart, int64_t p,
                         float threshold) {
  std::vector<float> sum(sums, sums + n * dim);
  std::vector<double> weight(weights, weights + n);
  std::vector<std::set<int64_t>> enemy(n);
  for (int64_t k = 0; k < p; ++k) {
    enemy[apart[2 * k]].insert(apart[2 * k + 1]);
    enemy[apart[2 * k + 1]].insert(apart[2 * k]);
  }
  std::vector<char> alive(n, 1);
  std::vector<int64_t> parent(n), best(n, -1);
  std::vector<float> best_similarity(n, -2.0f), weakest(n, 2.0f);

  const auto similarity = [&](int64_t a, int64_t b) {
    return static_cast<float>(dot(&sum[a * dim], &sum[b * dim], dim) / (weight[a] * weight[b]));
  };
  // Each group remembers the best partner of a higher index: memory stays O(n), not O(n^2).
  const auto search = [&](int64_t a) {
    best[a] = -1;
    best_similarity[a] = -2.0f;
    for (int64_t b = a + 1; b < n; ++b) {
      if (!alive[b] || enemy[a].count(b)) continue;
      const float s = similarity(a, b);
      if (s > best_similarity[a]) {
        best_similarity[a] = s;
        best[a] = b;
      }
    }
  };
  for (int64_t a = 0; a < n; ++a) {
    parent[a] = a;
    search(a);
  }
  while (true) {
    int64_t a = -1;
    for (int64_t i = 0; i < n; ++i)
      if (alive[i] && best[i] >= 0 && (a < 0 || best_similarity[i] > best_similarity[a])) a = i;
    if (a < 0 || best_similarity[a] < threshold) break;
    const int64_t b = best[a];
    for (float w : {best_similarity[a], weakest[b]}) weakest[a] = w < weakest[a] ? w : weakest[a];
    alive[b] = 0;
    parent[b] = a;
    for (int k = 0; k < dim; ++k) sum[a * dim + k] += sum[b * dim + k];
    weight[a] += weight[b];
    for (int64_t e : enemy[b]) {
      enemy[e].erase(b);
      enemy[e].insert(a);
      enemy[a].insert(e);
    }
    enemy[b].clear();
    search(a);
    for (int64_t i = 0; i < n; ++i) {
      if (!alive[i] || i == a) continue;
      if (best[i] == a || best[i] == b) {
        search(i);
      } else if (i < a && !enemy[i].count(a)) {
        const float s = similarity(i, a);
        if (s > best_similarity[i]) {
          best_similarity[i] = s;
          best[i] = a;
        }
      }
    }
  }

  Clusters out;
  out.label.assign(n, -1);
  for (int64_t i = 0; i < n; ++i) {
    int64_t root = i;
    while (parent[root] != root) root = parent[root];
    if (out.label[root] < 0) {
      out.label[root] = static_cast<int64_t>(out.weakest.size());
      out.weakest.push_back(weakest[root]);
    }
    out.label[i] = out.label[root];
  }
  return out;
}

}  // namespace fastface
