// The choice of faces.
#include <map>
#include <utility>
#include <vector>

#include "bindings.h"
#include "core/sampler.h"

namespace fastface {
namespace {

using Rows = std::vector<std::pair<int64_t, Sample>>;

// track, time, quality, legibility, place: one array each.
py::tuple columns(const Rows& rows) {
  const auto n = static_cast<py::ssize_t>(rows.size());
  Array<int64_t> track(n), place(n);
  Array<double> time(n), quality(n), legibility(n);
  for (py::ssize_t i = 0; i < n; ++i) {
    const auto& [id, sample] = rows[static_cast<size_t>(i)];
    track.mutable_at(i) = id;
    time.mutable_at(i) = sample.time;
    quality.mutable_at(i) = sample.quality;
    legibility.mutable_at(i) = sample.legibility;
    place.mutable_at(i) = sample.place;
  }
  return py::make_tuple(track, time, quality, legibility, place);
}

}  // namespace

void bind_sampler(py::module_& m) {
  py::class_<Sampler>(m, "Sampler", "Chooses which faces of a track are worth embedding, while the track grows.")
      .def(py::init([](int k, double spacing) { return Sampler(positive(k, "k"), spacing); }), py::arg("k"),
           py::arg("spacing"), "At most k faces of a track, `spacing` seconds apart.")
      .def(
          "offer",
          [](Sampler& self, const Array<int64_t>& track, const Array<double>& time, const Array<float>& quality,
             const Array<float>& legibility) {
            expect(track, "track", {-1});
            const py::ssize_t n = track.shape(0);
            expect(time, "time", {n});
            expect(quality, "quality", {n});
            expect(legibility, "legibility", {n});
            if (self.waiting()) throw py::value_error("the faces of the last offer have no place yet: call place()");
            std::vector<int64_t> wanted, freed;
            {
              py::gil_scoped_release release;
              self.offer(track.data(), time.data(), quality.data(), legibility.data(), n, wanted, freed);
            }
            return py::make_tuple(to_array(wanted), to_array(freed));
          },
          py::arg("track").noconvert(), py::arg("time").noconvert(), py::arg("quality").noconvert(),
          py::arg("legibility").noconvert(),
          "m faces ordered by frame: track [m] int64, time [m] float64 s, quality and legibility [m] float32\n"
          "-> wanted [w] int64: numbers of those that are kept now; freed [f] int64: places of earlier ones that are\n"
          "not any more. `place` must follow.")
      .def(
          "place",
          [](Sampler& self, const Array<int64_t>& places) {
            expect(places, "places", {static_cast<py::ssize_t>(self.waiting())});
            for (py::ssize_t i = 0; i < places.shape(0); ++i)
              if (places.at(i) < 0) throw py::value_error("places must not be negative");
            self.place(places.data());
          },
          py::arg("places").noconvert(), "Where the crops of the faces are that the last offer wanted: [w] int64, >= 0.")
      .def(
          "take",
          [](Sampler& self, const Array<int64_t>& tracks) {
            expect(tracks, "tracks", {-1});
            Rows rows;
            for (py::ssize_t i = 0; i < tracks.shape(0); ++i)
              for (const Sample& s : self.take(tracks.at(i))) rows.emplace_back(tracks.at(i), s);
            return columns(rows);
          },
          py::arg("tracks").noconvert(),
          "tracks [t] int64 that ended -> track, time, quality, legibility, place: [s] each, by track as given, then by\n"
          "time; they are forgotten here.")
      .def(
          "state",
          [](const Sampler& self) {
            Rows rows;
            for (const auto& [track, samples] : self.kept())
              for (const Sample& s : samples) rows.emplace_back(track, s);
            return columns(rows);
          },
          "What is kept, as `take` gives it.")
      .def(
          "restore",
          [](Sampler& self, const Array<int64_t>& track, const Array<double>& time, const Array<double>& quality,
             const Array<double>& legibility, const Array<int64_t>& place) {
            expect(track, "track", {-1});
            const py::ssize_t n = track.shape(0);
            expect(time, "time", {n});
            expect(quality, "quality", {n});
            expect(legibility, "legibility", {n});
            expect(place, "place", {n});
            std::map<int64_t, std::vector<Sample>> kept;
            for (py::ssize_t i = 0; i < n; ++i)
              kept[track.at(i)].push_back({quality.at(i), legibility.at(i), time.at(i), place.at(i)});
            self.restore(std::move(kept));
          },
          py::arg("track").noconvert(), py::arg("time").noconvert(), py::arg("quality").noconvert(),
          py::arg("legibility").noconvert(), py::arg("place").noconvert(), "Goes on where `state` was taken.");
}

}  // namespace fastface
