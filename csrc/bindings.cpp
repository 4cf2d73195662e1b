// fastface._core: arrays in, arrays out. Shapes and dtypes are checked here, the GIL is released around the work.
#include <pybind11/stl.h>

#include <array>
#include <cstring>
#include <string>

#include "bindings.h"
#include "core/linkage.h"
#include "core/nms.h"
#include "core/resample.h"
#include "core/tracker.h"

namespace py = pybind11;
using namespace fastface;

namespace {

py::array triples(const std::vector<int64_t>& flat) {
  return to_array(flat).reshape({static_cast<py::ssize_t>(flat.size() / 3), py::ssize_t{3}});
}

Frames frames_of(const Array<uint8_t>& frames) {
  expect(frames, "frames", {-1, -1, -1, 3});
  if (frames.shape(1) < 1 || frames.shape(2) < 1 || frames.shape(1) > (1 << 20) || frames.shape(2) > (1 << 20))
    throw py::value_error("frames must be 1 to 1048576 pixels high and wide");
  return {frames.data(), frames.shape(0), static_cast<int>(frames.shape(1)), static_cast<int>(frames.shape(2))};
}

// Checks that every rectangle lies inside its frame and is not empty.
void check_crops(const Frames& frames, const Array<int64_t>& row, const Array<int32_t>& rect) {
  expect(row, "row", {-1});
  expect(rect, "rect", {row.shape(0), 4});
  for (py::ssize_t i = 0; i < row.shape(0); ++i) {
    const int32_t* r = rect.data() + 4 * i;
    if (row.at(i) < 0 || row.at(i) >= frames.n)
      throw py::value_error("row[" + std::to_string(i) + "] is " + std::to_string(row.at(i)) + ", must be in [0, " +
                            std::to_string(frames.n) + ")");
    if (!(0 <= r[0] && r[0] < r[2] && r[2] <= frames.width && 0 <= r[1] && r[1] < r[3] && r[3] <= frames.height))
      throw py::value_error("rect[" + std::to_string(i) + "] must be a rectangle inside the frame");
  }
}

template <class T>
void convert(const py::array_t<T>& y, const py::array_t<T>& u, const py::array_t<T>& v, int width, int height,
             const std::array<int, 8>& c, py::array_t<uint8_t, py::array::c_style>& out, int threads) {
  expect(out, "out", {height, width, 3});
  const auto holds = [](const py::array_t<T>& plane, int rows, int columns) {
    return plane.ndim() == 2 && plane.shape(0) >= rows && plane.shape(1) >= columns;
  };
  const int half_width = (width + 1) / 2, half_height = (height + 1) / 2;
  if (width < 1 || height < 1 || !holds(y, height, width) || !holds(u, half_height, half_width) ||
      !holds(v, half_height, half_width))
    throw py::value_error("planes are smaller than " + std::to_string(width) + " x " + std::to_string(height));
  const py::ssize_t size = sizeof(T);
  if (y.strides(1) != size || u.strides(0) != v.strides(0) || u.strides(1) != v.strides(1))
    throw py::value_error("y must have contiguous rows, u and v the same strides");
  const YuvToRgb matrix{c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]};
  uint8_t* data = out.mutable_data();
  py::gil_scoped_release release;
  yuv420_to_rgb<T>(y.data(), y.strides(0) / size, u.data(), v.data(), u.strides(0) / size,
                   static_cast<int>(u.strides(1) / size), width, height, matrix, data, threads);
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "The C++ core of fastface: resampling, suppression, tracking, matching, clustering.";

  m.def(
      "has_avx512",
      [] {
#if defined(__x86_64__)
        return __builtin_cpu_supports("avx512f") != 0;
#else
        return false;
#endif
      },
      "Whether this machine's processor has AVX-512.");

  m.def(
      "nms",
      [](const Array<float>& boxes, const Array<float>& scores, const Array<int64_t>& group, float threshold,
         bool minimum) {
        expect(scores, "scores", {-1});
        const py::ssize_t n = scores.shape(0);
        expect(boxes, "boxes", {n, 4});
        expect(group, "group", {n});
        std::vector<int64_t> kept;
        {
          py::gil_scoped_release release;
          kept = nms(boxes.data(), scores.data(), group.data(), n, threshold, minimum ? Overlap::kMin : Overlap::kUnion);
        }
        return to_array(kept);
      },
      py::arg("boxes").noconvert(), py::arg("scores").noconvert(), py::arg("group").noconvert(), py::arg("threshold"),
      py::arg("minimum") = false,
      "Greedy non-maximum suppression within groups.\n\n"
      "boxes [n, 4] float32 xyxy, scores [n] float32, group [n] int64 -> kept [k] int64, by group, then by score\n"
      "(highest first), then by index. A box goes where its overlap with a kept one is > threshold: intersection over\n"
      "union, or with `minimum` over the smaller box with sides + 1, as MTCNN's last stage does.");

  m.def(
      "resize_area",
      [](const Array<uint8_t>& frames, int height, int width, int threads) {
        const Frames f = frames_of(frames);
        Array<float> out({frames.shape(0), py::ssize_t{3}, static_cast<py::ssize_t>(positive(height, "height")),
                          static_cast<py::ssize_t>(positive(width, "width"))});
        float* data = out.mutable_data();
        py::gil_scoped_release release;
        resize_area(f, height, width, data, threads);
        return out;
      },
      py::arg("frames").noconvert(), py::arg("height"), py::arg("width"), py::arg("threads") = 1,
      "frames [n, H, W, 3] uint8 RGB -> [n, 3, height, width] float32 by area resampling, (x - 127.5) / 128.");

  m.def(
      "crop_area",
      [](const Array<uint8_t>& frames, const Array<int64_t>& row, const Array<int32_t>& rect, int size, int threads) {
        const Frames f = frames_of(frames);
        check_crops(f, row, rect);
        const py::ssize_t s = positive(size, "size");
        Array<float> out({row.shape(0), py::ssize_t{3}, s, s});
        float* data = out.mutable_data();
        py::gil_scoped_release release;
        crop_area(f, row.data(), rect.data(), row.shape(0), size, data, threads);
        return out;
      },
      py::arg("frames").noconvert(), py::arg("row").noconvert(), py::arg("rect").noconvert(), py::arg("size"),
      py::arg("threads") = 1,
      "Rectangles rect [m, 4] int32 (x1, y1, x2, y2; half open, inside the frame) of frames row [m] int64\n"
      "-> [m, 3, size, size] float32 by area resampling, (x - 127.5) / 128.");

  m.def(
      "crop_triangle",
      [](const Array<uint8_t>& frames, const Array<int64_t>& row, const Array<int32_t>& rect, int size, int threads) {
        const Frames f = frames_of(frames);
        check_crops(f, row, rect);
        const py::ssize_t s = positive(size, "size");
        Array<uint8_t> out({row.shape(0), py::ssize_t{3}, s, s});
        uint8_t* data = out.mutable_data();
        py::gil_scoped_release release;
        crop_triangle(f, row.data(), rect.data(), row.shape(0), size, data, threads);
        return out;
      },
      py::arg("frames").noconvert(), py::arg("row").noconvert(), py::arg("rect").noconvert(), py::arg("size"),
      py::arg("threads") = 1,
      "Like crop_area, but with a triangle filter as wide as the scale (Pillow's BILINEAR)\n"
      "-> [m, 3, size, size] uint8, not scaled.");

  m.def(
      "describe_faces",
      [](const Array<uint8_t>& frames, const Array<int64_t>& row, const Array<int32_t>& rect, int threads) {
        const Frames f = frames_of(frames);
        check_crops(f, row, rect);
        Array<float> appearance({row.shape(0), py::ssize_t{kAppearance}});
        Array<float> sharpness(row.shape(0));
        float *a = appearance.mutable_data(), *s = sharpness.mutable_data();
        {
          py::gil_scoped_release release;
          describe_faces(f, row.data(), rect.data(), row.shape(0), a, s, threads);
        }
        return py::make_tuple(appearance, sharpness);
      },
      py::arg("frames").noconvert(), py::arg("row").noconvert(), py::arg("rect").noconvert(), py::arg("threads") = 1,
      "-> appearance [m, 64] float32 (8 x 8 grey thumbnail, zero mean, unit norm), sharpness [m] float32 (energy of\n"
      "the Laplacian over the variance at 64 x 64).");

  m.def("yuv420_to_rgb", &convert<uint8_t>, py::arg("y").noconvert(), py::arg("u").noconvert(), py::arg("v").noconvert(),
        py::arg("width"), py::arg("height"), py::arg("coefficients"), py::arg("out").noconvert(), py::arg("threads") = 1,
        "A 4:2:0 picture to RGB: y [rows, pitch], u and v [rows / 2, any] uint8 or uint16 (views with strides will do)\n"
        "-> out [height, width, 3] uint8. coefficients: the eight numbers of YuvToRgb (csrc/common/color.h), in order.");
  m.def("yuv420_to_rgb", &convert<uint16_t>, py::arg("y").noconvert(), py::arg("u").noconvert(), py::arg("v").noconvert(),
        py::arg("width"), py::arg("height"), py::arg("coefficients"), py::arg("out").noconvert(), py::arg("threads") = 1);

  py::class_<Tracker> tracker(m, "Tracker", "Follows faces from frame to frame by place and look.");
  tracker
      .def(py::init([](float min_iou, float max_shift, float min_appearance, double max_gap) {
             return Tracker(TrackerSettings{min_iou, max_shift, min_appearance, max_gap});
           }),
           py::kw_only(), py::arg("min_iou"), py::arg("max_shift"), py::arg("min_appearance"), py::arg("max_gap"))
      .def(
          "update",
          [](Tracker& self, const Array<double>& time, const Array<uint8_t>& cut, const Array<int64_t>& row,
             const Array<float>& box, const Array<float>& appearance) {
            expect(time, "time", {-1});
            expect(cut, "cut", {time.shape(0)});
            expect(row, "row", {-1});
            expect(box, "box", {row.shape(0), 4});
            expect(appearance, "appearance", {row.shape(0), kAppearance});
            for (py::ssize_t i = 0; i < row.shape(0); ++i)
              if (row.at(i) < (i ? row.at(i - 1) : 0) || row.at(i) >= time.shape(0))
                throw py::value_error("row must ascend within [0, " + std::to_string(time.shape(0)) + ")");
            Array<int64_t> track(row.shape(0));
            int64_t* out = track.mutable_data();
            {
              py::gil_scoped_release release;
              self.update(time.data(), cut.data(), time.shape(0), row.data(), box.data(), appearance.data(), row.shape(0),
                          out);
            }
            return track;
          },
          py::arg("time").noconvert(), py::arg("cut").noconvert(), py::arg("row").noconvert(), py::arg("box").noconvert(),
          py::arg("appearance").noconvert(),
          "One batch: time [n] float64 s, cut [n] uint8 (1: a shot begins), faces ordered by frame: row [m] int64,\n"
          "box [m, 4] float32, appearance [m, 64] float32 -> track [m] int64, numbered from 0.")
      .def(
          "take_finished", [](Tracker& self, bool all) { return to_array(self.take_finished(all)); },
          py::arg("all") = false, "-> [k] int64: tracks that ended since the last call; with `all`, every one left.")
      .def(
          "conflicts", [](const Tracker& self) { return triples(self.conflicts()); },
          "-> [p, 3] int64: pairs of tracks seen apart in one frame, and in how many frames.")
      .def(
          "overlaps", [](const Tracker& self) { return triples(self.overlaps()); },
          "-> [p, 3] int64: pairs of tracks whose boxes lay on one face in one frame, and in how many frames.");

  tracker.def(
      "state",
      [](const Tracker& self) {
        const auto& live = self.live();
        const auto k = static_cast<py::ssize_t>(live.size());
        Array<int64_t> id(k);
        Array<double> time(k);
        Array<float> box({k, py::ssize_t{4}}), velocity({k, py::ssize_t{2}}), appearance({k, py::ssize_t{kAppearance}});
        for (py::ssize_t i = 0; i < k; ++i) {
          const auto& t = live[static_cast<size_t>(i)];
          id.mutable_at(i) = t.id;
          time.mutable_at(i) = t.time;
          std::memcpy(box.mutable_data() + 4 * i, t.box, sizeof t.box);
          std::memcpy(velocity.mutable_data() + 2 * i, t.velocity, sizeof t.velocity);
          std::memcpy(appearance.mutable_data() + kAppearance * i, t.appearance, sizeof t.appearance);
        }
        return py::make_tuple(self.next_id(), id, time, box, velocity, appearance);
      },
      "What is known of the k tracks that may get more faces: next id, id [k] int64, time [k] float64, box [k, 4],\n"
      "velocity [k, 2] and appearance [k, 64] float32. Take finished tracks first; conflicts and overlaps are apart.");
  tracker.def(
      "restore",
      [](Tracker& self, int64_t next_id, const Array<int64_t>& id, const Array<double>& time, const Array<float>& box,
         const Array<float>& velocity, const Array<float>& appearance, const Array<int64_t>& conflicts,
         const Array<int64_t>& overlaps) {
        expect(id, "id", {-1});
        const py::ssize_t k = id.shape(0);
        expect(time, "time", {k});
        expect(box, "box", {k, 4});
        expect(velocity, "velocity", {k, 2});
        expect(appearance, "appearance", {k, kAppearance});
        expect(conflicts, "conflicts", {-1, 3});
        expect(overlaps, "overlaps", {-1, 3});
        std::vector<Tracker::Live> live(static_cast<size_t>(k));
        for (py::ssize_t i = 0; i < k; ++i) {
          auto& t = live[static_cast<size_t>(i)];
          t.id = id.at(i);
          t.time = time.at(i);
          std::memcpy(t.box, box.data() + 4 * i, sizeof t.box);
          std::memcpy(t.velocity, velocity.data() + 2 * i, sizeof t.velocity);
          std::memcpy(t.appearance, appearance.data() + kAppearance * i, sizeof t.appearance);
        }
        self.restore(next_id, std::move(live), conflicts.data(), conflicts.shape(0), overlaps.data(), overlaps.shape(0));
      },
      py::arg("next_id"), py::arg("id").noconvert(), py::arg("time").noconvert(), py::arg("box").noconvert(),
      py::arg("velocity").noconvert(), py::arg("appearance").noconvert(), py::arg("conflicts").noconvert(),
      py::arg("overlaps").noconvert(), "Goes on where `state`, `conflicts` and `overlaps` were taken.");

  bind_faces(m);
  bind_gpu(m);
  bind_matcher(m);

  m.def(
      "average_linkage",
      [](const Array<float>& sums, const Array<float>& weights, const Array<int64_t>& apart, float threshold) {
        expect(weights, "weights", {-1});
        const py::ssize_t n = weights.shape(0);
        expect(sums, "sums", {n, -1});
        expect(apart, "apart", {-1, 2});
        for (py::ssize_t i = 0; i < apart.shape(0); ++i)
          if (apart.at(i, 0) < 0 || apart.at(i, 0) >= n || apart.at(i, 1) < 0 || apart.at(i, 1) >= n ||
              apart.at(i, 0) == apart.at(i, 1))
            throw py::value_error("apart[" + std::to_string(i) + "] must be two different groups in [0, " +
                                  std::to_string(n) + ")");
        Clusters clusters;
        {
          py::gil_scoped_release release;
          clusters = average_linkage(sums.data(), weights.data(), n, static_cast<int>(sums.shape(1)), apart.data(),
                                     apart.shape(0), threshold);
        }
        return py::make_tuple(to_array(clusters.label), to_array(clusters.weakest));
      },
      py::arg("sums").noconvert(), py::arg("weights").noconvert(), py::arg("apart").noconvert(), py::arg("threshold"),
      "Agglomerative clustering by average cosine similarity.\n\n"
      "sums [n, dim] float32: weighted sums of unit vectors; weights [n] float32: their total weights; apart [p, 2]\n"
      "int64: groups that must not be joined -> label [n] int64, numbered by first member; weakest [clusters] float32:\n"
      "the lowest similarity at which a cluster was joined, 2 if it never was.");
}
