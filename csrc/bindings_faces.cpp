// What is known of faces from batch to batch: shots, quality, the choice of those that are embedded.
#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "bindings.h"
#include "core/quality.h"
#include "core/sampler.h"
#include "core/shots.h"

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

void bind_faces(py::module_& m) {
  m.def(
      "face_quality",
      [](const Array<float>& box, const Array<float>& score, const Array<float>& landmarks, const Array<float>& sharpness,
         float width, float height, float full_size, float measured_at, float sharp, float half_sharp) {
        expect(score, "score", {-1});
        const py::ssize_t n = score.shape(0);
        expect(box, "box", {n, 4});
        expect(landmarks, "landmarks", {n, 5, 2});
        expect(sharpness, "sharpness", {n});
        Array<float> frontality(n), resolution(n), quality(n);
        face_quality(box.data(), score.data(), landmarks.data(), sharpness.data(), n, width, height,
                     {full_size, measured_at, sharp, half_sharp}, frontality.mutable_data(), resolution.mutable_data(),
                     quality.mutable_data());
        return py::make_tuple(frontality, resolution, quality);
      },
      py::arg("box").noconvert(), py::arg("score").noconvert(), py::arg("landmarks").noconvert(),
      py::arg("sharpness").noconvert(), py::arg("width"), py::arg("height"), py::kw_only(), py::arg("full_size"),
      py::arg("measured_at"), py::arg("sharp"), py::arg("half_sharp"),
      "box [n, 4], score [n], landmarks [n, 5, 2] and sharpness [n] float32 of faces in a picture of width x height\n"
      "-> frontality [n] in [0, 1], resolution [n] in pixels, quality [n] in (0, 1], float32.");

  m.def(
      "add_rows",
      [](Array<double>& sums, const Array<int64_t>& row, const Array<double>& weight, const Array<float>& values) {
        expect(row, "row", {-1});
        const py::ssize_t n = row.shape(0);
        expect(weight, "weight", {n});
        expect(values, "values", {n, -1});
        const py::ssize_t width = values.shape(1);
        expect(sums, "sums", {-1, width});
        for (py::ssize_t i = 0; i < n; ++i)
          if (row.at(i) < 0 || row.at(i) >= sums.shape(0))
            throw py::value_error("row[" + std::to_string(i) + "] is " + std::to_string(row.at(i)) + ", must be in [0, " +
                                  std::to_string(sums.shape(0)) + ")");
        double* to = sums.mutable_data();
        py::gil_scoped_release release;
        for (py::ssize_t i = 0; i < n; ++i)
          for (py::ssize_t k = 0; k < width; ++k)
            to[row.data()[i] * width + k] += weight.data()[i] * static_cast<double>(values.data()[i * width + k]);
      },
      py::arg("sums").noconvert(), py::arg("row").noconvert(), py::arg("weight").noconvert(), py::arg("values").noconvert(),
      "sums [k, d] float64, row [n] int64, weight [n] float64, values [n, d] float32: adds weight[i] * values[i] to\n"
      "sums[row[i]], one after the other.");

  m.def(
      "crop_rects",
      [](const Array<float>& box, int width, int height, double margin) {
        expect(box, "box", {-1, 4});
        Array<int32_t> rect({box.shape(0), py::ssize_t{4}});
        crop_rects(box.data(), box.shape(0), positive(width, "width"), positive(height, "height"), margin,
                   rect.mutable_data());
        return rect;
      },
      py::arg("box").noconvert(), py::arg("width"), py::arg("height"), py::arg("margin"),
      "box [n, 4] float32 xyxy -> [n, 4] int32, half open: with `margin` of their sides more, cut to the picture, at\n"
      "least one pixel.");

  py::class_<ShotDetector>(m, "ShotDetector", "Finds hard cuts from small thumbnails of consecutive frames.")
      .def(py::init([](double min_change, double usual_ratio, double last_ratio, double sure_change, int history) {
             return ShotDetector({min_change, usual_ratio, last_ratio, sure_change, positive(history, "history")});
           }),
           py::kw_only(), py::arg("min_change"), py::arg("usual_ratio"), py::arg("last_ratio"), py::arg("sure_change"),
           py::arg("history"))
      .def(
          "update",
          [](ShotDetector& self, const Array<uint8_t>& thumbnails) {
            expect(thumbnails, "thumbnails", {-1, -1});
            const auto known = static_cast<py::ssize_t>(self.last().size());
            if (known) expect(thumbnails, "thumbnails", {-1, known});
            Array<uint8_t> cut(thumbnails.shape(0));
            uint8_t* out = cut.mutable_data();
            {
              py::gil_scoped_release release;
              self.update(thumbnails.data(), thumbnails.shape(0), thumbnails.shape(1), out);
            }
            return cut;
          },
          py::arg("thumbnails").noconvert(),
          "[n, size] uint8 that follow those of the last call -> [n] uint8: 1 where a shot begins; the first frame does.")
      .def(
          "state",
          [](const ShotDetector& self) {
            return py::make_tuple(to_array(self.last()), self.was_cut(),
                                  to_array(std::vector<double>(self.changes().begin(), self.changes().end())));
          },
          "last [size] uint8 (size 0 before the first), was_cut, changes [<= history] float64.")
      .def(
          "restore",
          [](ShotDetector& self, const Array<uint8_t>& last, bool was_cut, const Array<double>& changes) {
            expect(last, "last", {-1});
            expect(changes, "changes", {-1});
            self.restore({last.data(), last.data() + last.size()}, was_cut,
                         {changes.data(), changes.data() + changes.size()});
          },
          py::arg("last").noconvert(), py::arg("was_cut"), py::arg("changes").noconvert(),
          "Goes on where `state` was taken.");

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
