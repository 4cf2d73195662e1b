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
  std::vector<char> skip(n, 0), stale(n, 0);  // joined to another, or (during a search) an enemy
  std::vector<int64_t> parent(n), best(n, -1);
  std::vector<float> best_similarity(n, -2.0f), weakest(n, 2.0f);

  // Each group remembers the best partner of a higher index: memory stays O(n), not O(n^2).
  const auto search = [&](int64_t a) {
    best[a] = -1;
    best_similarity[a] = -2.0f;
    stale[a] = 0;
    for (int64_t e : enemy[a]) skip[e] = 1;
    for (int64_t b = a + 1; b < n; ++b) {
      if (skip[b]) continue;
      const float s = static_cast<float>(dot(&sum[a * dim], &sum[b * dim], dim) / (weight[a] * weight[b]));
      if (s > best_similarity[a]) {
        best_similarity[a] = s;
        best[a] = b;
      }
    }
    for (int64_t e : enemy[a]) skip[e] = 0;
  };
  for (int64_t a = 0; a < n; ++a) {
    parent[a] = a;
    search(a);
  }
  while (true) {
    int64_t a = -1;
    for (int64_t i = 0; i < n; ++i)
      if (!skip[i] && best[i] >= 0 && (a < 0 || best_similarity[i] > best_similarity[a])) a = i;
    if (a < 0 || best_similarity[a] < threshold) break;
    if (stale[a]) {
      search(a);
      continue;
    }
    const int64_t b = best[a];
    for (float w : {best_similarity[a], weakest[b]}) weakest[a] = w < weakest[a] ? w : weakest[a];
    skip[b] = 1;
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
    // To the joined group nobody is nearer than to the nearer of its parts, so what others remember is no less than
    // what they would find: they search again when it is their turn.
    for (int64_t i = 0; i < n; ++i)
      if (best[i] == a || best[i] == b) stale[i] = 1;
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
