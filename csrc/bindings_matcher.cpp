// The matcher, and the level of SIMD it runs at.
#include <pybind11/stl.h>

#include <memory>

#include "bindings.h"
#include "core/matcher.h"
#include "core/similarity.h"

namespace fastface {

namespace {

void check_id(int64_t id) {
  if (id < 0) throw py::value_error("id is " + std::to_string(id) + ", must be at least 0");
}

}  // namespace

void bind_matcher(py::module_& m) {
  m.def("simd_levels", &simd_levels, "-> what this machine has, the fastest first: \"avx512\", \"avx2\", \"baseline\".");
  m.def("simd_level", [] { return kernels().name; }, "-> the level in use; FASTFACE_SIMD in the environment chooses one.");
  m.def("set_simd_level", &set_simd_level, py::arg("level"),
        "Changes the level. Results do not change with it, only speed.\n\nRaises ValueError for one that is not here.");

  m.def(
      "dot",
      [](const Array<float>& a, const Array<float>& b) {
        expect(a, "a", {-1, -1});
        expect(b, "b", {a.shape(0), a.shape(1)});
        Array<float> out(a.shape(0));
        const int dim = static_cast<int>(a.shape(1));
        const float *pa = a.data(), *pb = b.data();
        float* to = out.mutable_data();
        const int64_t n = a.shape(0);
        py::gil_scoped_release release;
        for (int64_t i = 0; i < n; ++i) to[i] = dot(pa + i * dim, pb + i * dim, dim);
        return out;
      },
      py::arg("a").noconvert(), py::arg("b").noconvert(),
      "a, b [n, dim] float32 -> [n] float32: inner products row by row, the same bits on every machine.");
  m.def("rounding_bound", &rounding_bound, py::arg("dim"), py::arg("norms"),
        "-> how far a float32 inner product, summed in any order, may be from `dot`, where norms is the product of\n"
        "the vectors' norms.");

  py::class_<Matcher>(m, "Matcher",
                      "Exact search among unit vectors of known identities. Neither the order of vectors, the batch,\n"
                      "the number of threads nor the machine changes a result. Several threads may use one at once.")
      .def(py::init([](int dim) { return std::make_unique<Matcher>(positive(dim, "dim")); }), py::arg("dim"))
      .def_property_readonly("dim", &Matcher::dim, "Length of the vectors.")
      .def_property_readonly(
          "identities",
          [](const Matcher& self) {
            py::gil_scoped_release release;
            return self.identities();
          },
          "How many different ids there are.")
      .def("__len__", &Matcher::size, py::call_guard<py::gil_scoped_release>())
      .def(
          "add",
          [](Matcher& self, const Array<float>& vectors, const Array<int64_t>& ids) {
            expect(vectors, "vectors", {-1, self.dim()});
            expect(ids, "ids", {vectors.shape(0)});
            for (py::ssize_t i = 0; i < ids.shape(0); ++i)
              if (ids.at(i) < 0)
                throw py::value_error("ids[" + std::to_string(i) + "] is " + std::to_string(ids.at(i)) +
                                      ", must be at least 0");
            const float* data = vectors.data();
            const int64_t *id = ids.data(), n = ids.shape(0);
            py::gil_scoped_release release;
            self.add(data, id, n);
          },
          py::arg("vectors").noconvert(), py::arg("ids").noconvert(),
          "Adds unit vectors [n, dim] float32 of identities ids [n] int64 >= 0, each of which becomes the newest seen\n"
          "in turn. An identity may have several vectors.\n\n"
          "Raises ValueError where one is not finite; then none is added.")
      .def(
          "add",
          [](Matcher& self, const Array<float>& vector, int64_t id) {
            expect(vector, "vector", {self.dim()});
            check_id(id);
            const float* data = vector.data();
            py::gil_scoped_release release;
            self.add(data, &id, 1);
          },
          py::arg("vector").noconvert(), py::arg("id"), "Adds one unit vector [dim] float32 of identity id >= 0.")
      .def(
          "remove",
          [](Matcher& self, int64_t id) {
            check_id(id);
            py::gil_scoped_release release;
            return self.remove(id);
          },
          py::arg("id"), "Forgets an identity -> how many vectors it had; 0 if it is not known.")
      .def(
          "search",
          [](const Matcher& self, const Array<float>& queries, int k, int threads) {
            expect(queries, "queries", {-1, self.dim()});
            const py::ssize_t columns = positive(k, "k"), rows = queries.shape(0);
            positive(threads, "threads");
            Array<int64_t> ids({rows, columns});
            Array<float> similarities({rows, columns});
            const float* data = queries.data();
            int64_t* who = ids.mutable_data();
            float* how = similarities.mutable_data();
            {
              py::gil_scoped_release release;
              self.search(data, rows, k, threads, who, how);
            }
            return py::make_tuple(ids, similarities);
          },
          py::arg("queries").noconvert(), py::arg("k") = 1, py::arg("threads") = 1,
          "The k most similar identities of each query: queries [m, dim] float32 -> ids [m, k] int64, similarities\n"
          "[m, k] float32, the best first; -1 and -inf where there are fewer. Of an identity's vectors the best\n"
          "counts, ties go to the lower id.\n\nRaises ValueError where a query is not finite.")
      .def(
          "match",
          [](Matcher& self, const Array<float>& query, float threshold, float sure, bool touch, int64_t track) {
            expect(query, "query", {self.dim()});
            if (track < -1) throw py::value_error("track is " + std::to_string(track) + ", must be at least -1");
            const float* data = query.data();
            Match best;
            {
              py::gil_scoped_release release;
              best = self.match(data, {threshold, sure, touch, track});
            }
            return py::make_tuple(best.id, best.similarity, best.compared);
          },
          py::arg("query").noconvert(), py::kw_only(), py::arg("threshold"), py::arg("sure"), py::arg("touch") = true,
          py::arg("track") = -1,
          "query [dim] float32, unit -> (id or -1, similarity, vectors compared).\n\n"
          "Looks at the newest seen identities first. A similarity >= sure ends the search, else the best one >=\n"
          "threshold wins; ties go to the newer. With `touch` the one who matched becomes the newest. With a `track`\n"
          ">= 0 the identity of that track's last match is tried first, and wins if it is sure.")
      .def(
          "recent",
          [](const Matcher& self, int64_t track) -> py::object {
            Match last;
            {
              py::gil_scoped_release release;
              last = self.recent(track);
            }
            if (last.id < 0) return py::none();
            return py::make_tuple(last.id, last.similarity);
          },
          py::arg("track"),
          "(id, similarity) of a track's last match; None if nobody matched, who matched is removed, or it is too\n"
          "long ago: the last 256 tracks are kept, where tracks are numbered one after the other.");
}

}  // namespace fastface
