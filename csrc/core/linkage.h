// Agglomerative clustering by average linkage on cosine similarity.
#pragma once

#include <cstdint>
#include <vector>

namespace fastface {

struct Clusters {
  std::vector<int64_t> label;  // [n], clusters numbered by their first member
  std::vector<float> weakest;  // per cluster: the lowest similarity at which it was joined; 2 if never
};

// n groups of unit vectors, given by their weighted sums [n, dim] and total weights [n]: the average similarity of two
// groups is dot(sum_a, sum_b) / (weight_a * weight_b), exactly, however they were joined (UPGMA, Sokal & Michener 1958).
// The most similar two are joined while they are >= threshold. apart [p, 2]: groups that must not share a cluster.
Clusters average_linkage(const float* sums, const float* weights, int64_t n, int dim, const int64_t* apart, int64_t p,
                         float threshold);

}  // namespace fastface
