// Which known identity does a face belong to? Exact search over unit vectors.
//
// Fast kernels find the candidates, all within the error of rounding; `dot`, whose bits are the same everywhere,
// decides between them. So neither the machine, the order of vectors, the batch nor the number of threads changes a
// result.
#pragma once

#include <array>
#include <cstdint>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

#include "core/rows.h"

namespace fastface {

struct Match {
  int64_t id;        // -1: nobody is similar enough
  float similarity;  // cosine with the best that was looked at; -1 where there is nobody
  int64_t compared;  // how many vectors were looked at
};

struct MatchSettings {
  float threshold;     // from which the best one wins
  float sure;          // from which the first one wins, and the search ends
  bool touch = true;   // who matched becomes the newest
  int64_t track = -1;  // whose last identity is tried first; -1: none
};

// Several threads may call anything at once: those who change something wait for the others.
class Matcher {
 public:
  explicit Matcher(int dim) : rows_(dim) {}

  // Adds unit vectors [n, dim] of identities ids [n] >= 0, each of which becomes the newest seen in turn. An identity
  // may have several vectors. Throws std::invalid_argument, and adds none, where one is not finite.
  void add(const float* vectors, const int64_t* ids, int64_t n);

  // Forgets an identity; returns how many vectors it had.
  int64_t remove(int64_t id);

  // The k most similar identities for each query [m, dim], the best first, by the best of their vectors; ties go to
  // the lower id. -> ids [m, k], similarities [m, k], filled up with -1 and -infinity. Throws std::invalid_argument
  // where a query is not finite.
  void search(const float* queries, int64_t m, int k, int threads, int64_t* ids, float* similarities) const;

  // Looks at the newest seen identities first, ends at the first that is sure; ties go to the newer. Of the oldest,
  // who come after kFront vectors, it looks at all at once. Throws std::invalid_argument where query is not finite.
  Match match(const float* query, const MatchSettings& settings);

  // The last match of a track: {-1, -1, 0} if there was none or it is no longer kept.
  Match recent(int64_t track) const;

  int dim() const { return rows_.dim(); }
  int64_t size() const;  // vectors
  int64_t identities() const;

  static constexpr int kFront = 128;   // vectors that `match` looks at one by one
  static constexpr int kTracks = 256;  // tracks whose matches are kept

 private:
  struct Identity {
    int64_t id;
    int32_t newest, count;  // of its rows
    int32_t newer, older;   // identities, by when they were seen; -1: none
    uint64_t seen;
  };
  struct Link {            // of a row
    int32_t identity;      // index of identities_
    int32_t newer, older;  // rows of the same identity
  };
  struct Kept {
    int64_t track = -1, id = -1;
    float similarity = -1.0f;
  };
  struct Batch;
  struct Top;
  struct Bests;
  struct Block {
    int64_t row;
    int count;
  };

  void unlink(int32_t identity);
  void bring_to_front(int32_t identity);
  Match find(const float* query, float norm, const MatchSettings& settings) const;
  Block block(int64_t row, int64_t end) const;
  Match look_at_all(const float* query, float norm, float sure) const;
  void scan(const Batch& batch, int64_t begin, int64_t end, Bests& best_of) const;
  void offer(Top& top, const float* query, int64_t row) const;

  Rows rows_;
  float largest_norm_ = 0.0f;
  std::vector<Link> links_;  // [rows]
  std::vector<Identity> identities_;
  std::vector<int32_t> free_;  // identities_ that are not in use
  std::unordered_map<int64_t, int32_t> of_id_;
  int32_t newest_ = -1;
  uint64_t clock_ = 0;
  std::array<Kept, kTracks> kept_;
  mutable std::shared_mutex mutex_;
};

}  // namespace fastface
