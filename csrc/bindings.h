// What the files of bindings share: arrays of NumPy and checks of what comes in.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <initializer_list>
#include <string>
#include <vector>

namespace fastface {

namespace py = pybind11;

template <class T>
using Array = py::array_t<T, py::array::c_style>;

// Raises ValueError unless the shape is as wanted; -1 stands for any length.
template <class T>
void expect(const Array<T>& array, const char* name, std::initializer_list<py::ssize_t> want) {
  bool good = array.ndim() == static_cast<py::ssize_t>(want.size());
  py::ssize_t axis = 0;
  for (auto w = want.begin(); good && w != want.end(); ++w, ++axis) good = *w < 0 || array.shape(axis) == *w;
  if (good) return;
  std::string is, must;
  for (py::ssize_t i = 0; i < array.ndim(); ++i) is += (i ? ", " : "") + std::to_string(array.shape(i));
  for (auto w = want.begin(); w != want.end(); ++w)
    must += (w == want.begin() ? "" : ", ") + (*w < 0 ? std::string("any") : std::to_string(*w));
  throw py::value_error(std::string(name) + " has shape [" + is + "], must be [" + must + "]");
}

template <class T>
Array<T> to_array(const std::vector<T>& values) {
  return Array<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

inline int positive(int value, const char* name) {
  if (value < 1) throw py::value_error(std::string(name) + " is " + std::to_string(value) + ", must be at least 1");
  return value;
}

void bind_matcher(py::module_& m);
void bind_faces(py::module_& m);
void bind_gpu(py::module_& m);

}  // namespace fastface
