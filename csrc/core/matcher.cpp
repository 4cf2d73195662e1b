#include "core/matcher.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <string>

#include "core/parallel.h"
#include "core/similarity.h"

namespace fastface {

namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();
constexpr int kBatch = 256;              // queries that are packed at a time
constexpr int kSingles = 3;              // so few queries go one by one: a panel would be mostly empty
constexpr int64_t kLeast = 48;           // rows that a thread takes at a time
constexpr int64_t kPerThread = 4 << 20;  // products that make up for the start of a thread

// Norms of vectors [n, dim], rounded up. Throws unless they are finite; so large that products overflow is not finite.
void norms_of(const char* name, const float* vectors, int64_t n, int dim, float* norms) {
  kernels().squares(vectors, n, dim, norms);
  for (int64_t i = 0; i < n; ++i) {
    if (!(norms[i] <= 1e30f))
      throw std::invalid_argument(std::string(name) + "[" + std::to_string(i) + "] has norm " +
                                  std::to_string(std::sqrt(norms[i])) + ", must be finite (unit vectors have 1)");
    norms[i] = std::sqrt(norms[i]) * 1.001f;
  }
}

}  // namespace

// The best identities of one query so far.
struct Matcher::Top {
  int k;
  int64_t* ids;         // [k]
  float* similarities;  // [k], descending, ties by id

  float worst() const { return similarities[k - 1]; }

  void insert(int64_t id, float similarity) {
    if (k == 1) {
      if (similarity > similarities[0] || (similarity == similarities[0] && id < ids[0])) {
        ids[0] = id;
        similarities[0] = similarity;
      }
      return;
    }
    const auto before = [&](int i) {
      return similarity > similarities[i] || (similarity == similarities[i] && id < ids[i]);
    };
    int at = 0;
    while (at < k && ids[at] != id) ++at;
    if (at == k) at = ids[k - 1] >= 0 ? k - 1 : static_cast<int>(std::find(ids, ids + k, -1) - ids);
    if (ids[at] >= 0 && !before(at)) return;
    for (; at > 0 && before(at - 1); --at) {
      ids[at] = ids[at - 1];
      similarities[at] = similarities[at - 1];
    }
    ids[at] = id;
    similarities[at] = similarity;
  }
};

// What one thread has found for a batch.
struct Matcher::Bests {
  std::vector<Top> tops;
  std::vector<float> floors;  // a kernel's result under this is surely not among the best

  Bests(int m, int k, int64_t* ids, float* similarities) : floors(m, kNone) {
    tops.reserve(m);
    for (int64_t i = 0; i < m; ++i) tops.push_back({k, ids + i * k, similarities + i * k});
  }
};

// Up to kBatch queries as the kernels want them.
struct Matcher::Batch {
  struct Group {
    int first, count, registers;  // registers 0: one query, as it is
    const float* packed;
  };
  const Kernels& use;
  const float* queries;  // [m, dim]
  int dim;
  int64_t stride;
  std::vector<float> slack;  // [m]: how far a kernel may be from `dot`
  std::vector<Group> groups;
  Aligned memory;
  alignas(64) float little[1024];  // instead, for a single query of usual length

  Batch(const float* queries, int m, int dim, int64_t stride, const float* norms, float largest)
      : use(kernels()), queries(queries), dim(dim), stride(stride) {
    const float bound = rounding_bound(dim, 1.0);
    slack.reserve(m);
    for (int i = 0; i < m; ++i) slack.push_back(bound * (norms[i] * largest) + 1e-35f);
    const int wide = 2 * use.lanes;
    const int64_t need = m <= kSingles ? m * stride : (m / wide + 1) * wide * stride;
    if (need > static_cast<int64_t>(std::size(little))) memory = aligned_floats(need);
    float* to = memory ? memory.get() : little;
    groups.reserve(m / wide + kSingles);
    for (int at = 0; at < m;) {
      const int left = m - at, registers = left <= kSingles ? 0 : left <= use.lanes ? 1 : 2;
      const int width = registers * use.lanes, count = registers ? std::min(left, width) : 1;
      const float* from = queries + static_cast<int64_t>(at) * dim;
      if (registers) {
        use.pack(from, count, dim, width, to);
      } else {
        std::copy(from, from + dim, to);
        std::fill(to + dim, to + stride, 0.0f);
      }
      groups.push_back({at, count, registers, to});
      to += registers ? static_cast<int64_t>(width) * dim : stride;
      at += count;
    }
  }
};

void Matcher::unlink(int32_t identity) {
  const Identity& self = identities_[identity];
  if (self.newer >= 0) identities_[self.newer].older = self.older;
  if (self.older >= 0) identities_[self.older].newer = self.newer;
  if (newest_ == identity) newest_ = self.older;
}

void Matcher::bring_to_front(int32_t identity) {
  identities_[identity].seen = ++clock_;
  if (newest_ == identity) return;
  unlink(identity);
  identities_[identity].newer = -1;
  identities_[identity].older = newest_;
  if (newest_ >= 0) identities_[newest_].newer = identity;
  newest_ = identity;
}

void Matcher::add(const float* vectors, const int64_t* ids, int64_t n) {
  std::vector<float> norms(n);
  norms_of("vectors", vectors, n, dim(), norms.data());
  const float largest = n > 0 ? *std::max_element(norms.begin(), norms.end()) : 0.0f;
  const std::unique_lock lock(mutex_);
  if (rows_.size() + n > std::numeric_limits<int32_t>::max())
    throw std::invalid_argument("a matcher holds at most 2147483647 vectors");
  largest_norm_ = std::max(largest_norm_, largest);
  for (int64_t i = 0; i < n; ++i) {
    const int32_t row = static_cast<int32_t>(rows_.size());
    rows_.push_back(vectors + i * dim());
    int32_t identity;
    try {  // all that may run out of memory comes before anything refers to the row
      links_.push_back({-1, -1, -1});
      if (free_.empty()) {
        identities_.emplace_back();
        free_.push_back(static_cast<int32_t>(identities_.size()) - 1);
      }
      const auto [found, is_new] = of_id_.try_emplace(ids[i], free_.back());
      identity = found->second;
      if (is_new) {
        free_.pop_back();
        identities_[identity] = {ids[i], -1, 0, -1, -1, 0};
      }
    } catch (...) {
      rows_.pop_back();
      links_.resize(row);
      throw;
    }
    Identity& self = identities_[identity];
    links_[row] = {identity, -1, self.newest};
    if (self.newest >= 0) links_[self.newest].newer = row;
    self.newest = row;
    ++self.count;
    bring_to_front(identity);
  }
}

int64_t Matcher::remove(int64_t id) {
  const std::unique_lock lock(mutex_);
  const auto found = of_id_.find(id);
  if (found == of_id_.end()) return 0;
  const int32_t identity = found->second;
  const int64_t count = identities_[identity].count;
  while (identities_[identity].newest >= 0) {
    const int32_t row = identities_[identity].newest, last = static_cast<int32_t>(rows_.size()) - 1;
    identities_[identity].newest = links_[row].older;
    if (links_[row].older >= 0) links_[links_[row].older].newer = -1;
    if (row != last) {  // the last row moves into the gap
      const Link moved = links_[last];
      links_[row] = moved;
      if (moved.older >= 0) links_[moved.older].newer = row;
      if (moved.newer >= 0)
        links_[moved.newer].older = row;
      else
        identities_[moved.identity].newest = row;
      rows_.fill_from_last(row);
    }
    links_.pop_back();
    rows_.pop_back();
  }
  unlink(identity);
  free_.push_back(identity);
  of_id_.erase(found);
  for (Kept& kept : kept_)
    if (kept.id == id) kept = {};
  return count;
}

int64_t Matcher::size() const {
  const std::shared_lock lock(mutex_);
  return rows_.size();
}

int64_t Matcher::identities() const {
  const std::shared_lock lock(mutex_);
  return static_cast<int64_t>(of_id_.size());
}

void Matcher::offer(Top& top, const float* query, int64_t row) const {
  top.insert(identities_[links_[row].identity].id, dot(query, rows_[row], dim()));
}

// The next rows that are scored together: about 96 KB, which leaves room in the second level of the cache.
Matcher::Block Matcher::block(int64_t row, int64_t end) const {
  const int64_t some = std::clamp<int64_t>((24 << 10) / rows_.stride() / 12 * 12, 24, kMaxBlock * 4 / 5);
  const int64_t left = std::min(end - row, rows_.together(row));
  if (end - row == rows_.size() && left <= std::min<int64_t>((60 << 10) / rows_.stride(), kMaxBlock))
    return {row, static_cast<int>(left)};                              // all of a small gallery: each query is fetched once
  return {row, static_cast<int>(left <= some * 5 / 4 ? left : some)};  // no small rest
}

// Rows [begin, end) against all of the batch.
void Matcher::scan(const Batch& batch, int64_t begin, int64_t end, Bests& best_of) const {
  alignas(64) float out[kMaxBlock * kMaxPanel];
  alignas(64) float tile_best[kMaxBlock / 4 * kMaxPanel];
  alignas(64) float best[kMaxPanel];
  std::vector<std::pair<float, int>> candidates;
  const int tile = batch.use.tile;

  for (Block at = block(begin, end); at.count > 0; at = block(at.row + at.count, end)) {
    const float* rows = rows_[at.row];
    const Block after = block(at.row + at.count, end);
    const char* next = after.count > 0 ? reinterpret_cast<const char*>(rows_[after.row]) : nullptr;
    const int64_t share = after.count * batch.stride * 4 / static_cast<int64_t>(batch.groups.size()) / 64 * 64;
    for (const Batch::Group& group : batch.groups) {
      float* floors = best_of.floors.data() + group.first;
      const int width = std::max(group.registers * batch.use.lanes, 1), tiles = (at.count + tile - 1) / tile;
      if (group.registers) {
        // Each group fetches its share of the rows that come next.
        if (next != nullptr) {
          for (int64_t i = 0; i < share; i += 64) __builtin_prefetch(next + i, 0, 2);
          next += share;
        }
        batch.use.panel(rows, batch.stride, at.count, group.packed, batch.dim, group.registers, out, tile_best);
        std::copy(tile_best, tile_best + width, best);
        for (int t = 1; t < tiles; ++t)
          for (int q = 0; q < width; ++q) {
            const float other = tile_best[t * width + q];
            best[q] = other > best[q] ? other : best[q];
          }
      } else {
        best[0] = batch.use.one(rows, batch.stride, at.count, group.packed, out);
      }
      for (int q = 0; q < group.count; ++q) {
        float limit = floors[q];
        if (best[q] < limit) continue;
        Top& top = best_of.tops[group.first + q];
        const float slack = batch.slack[group.first + q];
        if (top.k == 1) limit = std::max(limit, best[q] - 2 * slack);
        const float* query = batch.queries + static_cast<int64_t>(group.first + q) * batch.dim;
        candidates.clear();
        const auto look = [&](int first) {
          // As bits, so that the branches can be foretold.
          uint32_t hits = 0;
          const int last = std::min(tile, at.count - first);
          for (int r = 0; r < last; ++r) hits |= static_cast<uint32_t>(out[(first + r) * width + q] >= limit) << r;
          for (; hits; hits &= hits - 1) {
            const int r = first + __builtin_ctz(hits);
            if (top.k == 1)
              offer(top, query, at.row + r);
            else
              candidates.emplace_back(-out[r * width + q], r);
          }
        };
        if (group.registers) {
          uint64_t hits = 0;
          for (int t = 0; t < tiles; ++t) hits |= static_cast<uint64_t>(tile_best[t * width + q] >= limit) << t;
          for (; hits; hits &= hits - 1) look(__builtin_ctzll(hits) * tile);
        } else {
          for (int r = 0; r < at.count; r += tile) look(r);
        }
        std::sort(candidates.begin(), candidates.end());  // the best first: the limit rises fast
        for (const auto& [negative, r] : candidates)
          if (-negative >= top.worst() - slack) offer(top, query, at.row + r);
        floors[q] = top.worst() - slack;
      }
    }
  }
}

void Matcher::search(const float* queries, int64_t m, int k, int threads, int64_t* ids, float* similarities) const {
  std::vector<float> norms(m);
  norms_of("queries", queries, m, dim(), norms.data());
  std::fill(ids, ids + m * k, -1);
  std::fill(similarities, similarities + m * k, kNone);
  const std::shared_lock lock(mutex_);
  const int64_t n = rows_.size();
  if (n == 0) return;

  for (int64_t at = 0; at < m; at += kBatch) {
    const int some = static_cast<int>(std::min<int64_t>(kBatch, m - at));
    const Batch batch(queries + at * dim(), some, dim(), rows_.stride(), &norms[at], largest_norm_);
    Bests result(some, k, ids + at * k, similarities + at * k);

    const int64_t workers = std::clamp<int64_t>(n * some * rows_.stride() / kPerThread, 1, std::max(threads, 1));
    if (workers == 1) {
      scan(batch, 0, n, result);
      continue;
    }
    const int64_t step = std::max((n + 4 * workers - 1) / (4 * workers), kLeast);
    const int64_t chunks = (n + step - 1) / step;
    // The first worker's best become the result, the others' are merged into it.
    std::vector<int64_t> more_ids((workers - 1) * some * k, -1);
    std::vector<float> more((workers - 1) * some * k, kNone);
    std::vector<Bests> all{std::move(result)};
    for (int64_t w = 0; w < workers - 1; ++w) all.emplace_back(some, k, &more_ids[w * some * k], &more[w * some * k]);
    std::atomic<int64_t> next{0};
    parallel_for(workers, static_cast<int>(workers), [&](int64_t w) {
      for (int64_t chunk = next++; chunk < chunks; chunk = next++)
        scan(batch, chunk * step, std::min(n, (chunk + 1) * step), all[w]);
    });
    for (int64_t w = 1; w < workers; ++w)
      for (int i = 0; i < some; ++i)
        for (int j = 0; j < k && all[w].tops[i].ids[j] >= 0; ++j)
          all[0].tops[i].insert(all[w].tops[i].ids[j], all[w].tops[i].similarities[j]);
  }
}

// Exact, without an order to look in: the newest who is sure, else the best, else nobody.
Match Matcher::look_at_all(const float* query, float norm, float sure) const {
  alignas(64) float out[kMaxBlock];
  const Kernels& use = kernels();
  const float slack = rounding_bound(dim(), static_cast<double>(norm) * largest_norm_);
  const Aligned padded = aligned_floats(rows_.stride());
  std::copy(query, query + dim(), padded.get());
  std::fill(padded.get() + dim(), padded.get() + rows_.stride(), 0.0f);

  Match best{-1, kNone, rows_.size()};
  uint64_t best_seen = 0;
  int32_t first = -1;  // who is sure
  for (Block at = block(0, rows_.size()); at.count > 0; at = block(at.row + at.count, rows_.size())) {
    const float top = use.one(rows_[at.row], rows_.stride(), at.count, padded.get(), out);
    const float limit = std::min(std::max(best.similarity - slack, top - 2 * slack), sure - slack);
    if (top < limit) continue;
    for (int r = 0; r < at.count; ++r) {
      if (out[r] < limit) continue;
      const int32_t index = links_[at.row + r].identity;
      const Identity& identity = identities_[index];
      const float similarity = use.dot(query, rows_[at.row + r], dim());
      if (similarity >= sure && (first < 0 || identity.seen > identities_[first].seen)) first = index;
      if (similarity > best.similarity || (similarity == best.similarity && identity.seen > best_seen)) {
        best.id = identity.id;
        best.similarity = similarity;
        best_seen = identity.seen;
      }
    }
  }
  if (first >= 0) {
    best.id = identities_[first].id;
    int32_t row = identities_[first].newest;
    while ((best.similarity = use.dot(query, rows_[row], dim())) < sure) row = links_[row].older;
  }
  return best;
}

Match Matcher::find(const float* query, float norm, const MatchSettings& settings) const {
  const Kernels& use = kernels();
  Match best{-1, kNone, 0};
  const Kept& kept = kept_[settings.track < 0 ? 0 : settings.track % kTracks];
  if (settings.track >= 0 && kept.track == settings.track && kept.id >= 0) {
    for (int32_t row = identities_[of_id_.at(kept.id)].newest; row >= 0 && best.compared < kFront;
         row = links_[row].older) {
      ++best.compared;
      best.similarity = use.dot(query, rows_[row], dim());
      if (best.similarity >= settings.sure) {
        best.id = kept.id;
        return best;
      }
    }
    best.similarity = kNone;
  }
  const int64_t tried = best.compared;
  for (int32_t i = newest_; i >= 0; i = identities_[i].older)
    for (int32_t row = identities_[i].newest; row >= 0; row = links_[row].older) {
      if (best.compared - tried == kFront) {
        best = look_at_all(query, norm, settings.sure);
        best.compared += tried;
        return best;
      }
      ++best.compared;
      const float similarity = use.dot(query, rows_[row], dim());
      if (similarity > best.similarity) {
        best.similarity = similarity;
        best.id = identities_[i].id;
        if (similarity >= settings.sure) return best;
      }
    }
  return best;
}

Match Matcher::match(const float* query, const MatchSettings& settings) {
  float norm;
  norms_of("query", query, 1, dim(), &norm);
  const bool changes = settings.touch || settings.track >= 0;
  std::shared_lock reading(mutex_, std::defer_lock);
  std::unique_lock writing(mutex_, std::defer_lock);
  changes ? writing.lock() : reading.lock();

  Match best = find(query, norm, settings);
  if (best.id < 0) best.similarity = -1.0f;
  if (best.similarity < settings.threshold) best.id = -1;
  if (settings.touch && best.id >= 0) bring_to_front(of_id_.at(best.id));
  if (settings.track >= 0) kept_[settings.track % kTracks] = {settings.track, best.id, best.similarity};
  return best;
}

Match Matcher::recent(int64_t track) const {
  const std::shared_lock lock(mutex_);
  const Kept& kept = kept_[track % kTracks];
  if (track < 0 || kept.track != track || kept.id < 0) return {-1, -1.0f, 0};
  return {kept.id, kept.similarity, 0};
}

}  // namespace fastface
