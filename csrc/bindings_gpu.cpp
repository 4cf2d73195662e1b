// Work for a stream of a GPU, prepared once and queued again and again by one call, with the interpreter's lock given away
// once. The driver's functions come as addresses: nothing here links to it, or needs its headers.
#include <algorithm>
#include <cstring>
#include <utility>
#include <variant>
#include <vector>

#include <pybind11/stl.h>

#include "bindings.h"

namespace fastface {
namespace {

using Address = unsigned long long;

// The driver's functions that are used, as cuda.h declares them.
struct Driver {
  int (*launch)(Address function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                unsigned shared, Address stream, void** arguments, void** extra);
  int (*fill)(Address to, unsigned char value, size_t bytes, Address stream);
  int (*to_host)(void* to, Address from, size_t bytes, Address stream);
  int (*to_device)(Address to, const void* from, size_t bytes, Address stream);
  int (*wait)(Address stream, Address event, unsigned flags);
  int (*record)(Address event, Address stream);
};

struct Launch {
  Address function;
  unsigned grid[3], block, shared;               // a side of 0 is as long as run() says
  std::vector<Address> values;                   // a place of eight bytes for each argument
  std::vector<std::pair<size_t, size_t>> given;  // which of them is which of the addresses that run() is given
};
struct Fill {
  Address to;
  size_t bytes;
};
struct ToHost {
  Address to, from;
  size_t bytes;
};
struct ToDevice {
  Address to, from;
  size_t bytes;
};
struct Wait {
  Address event;
};
struct Record {
  Address event;
};

class Program {
 public:
  explicit Program(const std::vector<Address>& functions) {
    if (functions.size() != 6) throw py::value_error("there must be the addresses of six functions");
    Address at[6];
    for (size_t i = 0; i < 6; ++i) {
      if (!functions[i]) throw py::value_error("the address of function " + std::to_string(i) + " is 0");
      at[i] = functions[i];
    }
    static_assert(sizeof(Driver) == sizeof(at), "");
    std::memcpy(&driver_, at, sizeof(at));
  }

  void launch(Address function, const std::vector<unsigned>& grid, unsigned block, unsigned shared, const py::bytes& values,
              const std::vector<std::pair<size_t, size_t>>& given) {
    const std::string packed = values;
    if (grid.size() != 3 || packed.size() % 8) throw py::value_error("grid must have 3 sides, and values 8 bytes each");
    Launch step{function, {grid[0], grid[1], grid[2]}, block, shared, std::vector<Address>(packed.size() / 8), given};
    std::memcpy(step.values.data(), packed.data(), packed.size());
    for (const auto& [place, which] : given) {
      if (place >= step.values.size()) throw py::value_error("there is no argument " + std::to_string(place));
      wanted_ = std::max(wanted_, which + 1);
    }
    steps_.emplace_back(std::move(step));
  }
  void fill(Address to, size_t bytes) { steps_.emplace_back(Fill{to, bytes}); }
  void to_host(Address to, Address from, size_t bytes) { steps_.emplace_back(ToHost{to, from, bytes}); }
  void to_device(Address to, Address from, size_t bytes) { steps_.emplace_back(ToDevice{to, from, bytes}); }
  void wait(Address event) { steps_.emplace_back(Wait{event}); }
  void record(Address event) { steps_.emplace_back(Record{event}); }

  // The driver's answer to the first step that it refused, and which one that was; 0 and the number of steps if none.
  std::pair<int, size_t> run(Address stream, const std::vector<Address>& given, unsigned count) {
    if (given.size() < wanted_)
      throw py::value_error(std::to_string(given.size()) + " addresses are given, must be " + std::to_string(wanted_));
    py::gil_scoped_release release;
    const Given now{stream, given.data(), count};
    for (size_t i = 0; i < steps_.size(); ++i)
      if (const int status = std::visit([&](auto& step) { return queue(step, now); }, steps_[i])) return {status, i};
    return {0, steps_.size()};
  }

 private:
  struct Given {
    Address stream;
    const Address* addresses;
    unsigned count;
  };
  int queue(Launch& s, const Given& now) const {
    void* arguments[32];
    if (s.values.size() > 32) return 1;  // CUDA_ERROR_INVALID_VALUE
    for (const auto& [place, which] : s.given) s.values[place] = now.addresses[which];
    for (size_t k = 0; k < s.values.size(); ++k) arguments[k] = &s.values[k];
    unsigned grid[3];
    for (int side = 0; side < 3; ++side) grid[side] = s.grid[side] ? s.grid[side] : now.count;
    return driver_.launch(s.function, grid[0], grid[1], grid[2], s.block, 1, 1, s.shared, now.stream, arguments, nullptr);
  }
  int queue(const Fill& s, const Given& now) const { return driver_.fill(s.to, 0, s.bytes, now.stream); }
  int queue(const ToHost& s, const Given& now) const {
    return driver_.to_host(reinterpret_cast<void*>(s.to), s.from, s.bytes, now.stream);
  }
  int queue(const ToDevice& s, const Given& now) const {
    return driver_.to_device(s.to, reinterpret_cast<const void*>(s.from), s.bytes, now.stream);
  }
  int queue(const Wait& s, const Given& now) const { return driver_.wait(now.stream, s.event, 0); }
  int queue(const Record& s, const Given& now) const { return driver_.record(s.event, now.stream); }

  Driver driver_;
  std::vector<std::variant<Launch, Fill, ToHost, ToDevice, Wait, Record>> steps_;
  size_t wanted_ = 0;  // addresses
};

}  // namespace

void bind_gpu(py::module_& m) {
  py::class_<Program>(m, "Program", "Launches, copies and events for a stream of a GPU, queued by one call.")
      .def(py::init<const std::vector<Address>&>(), py::arg("functions"),
           "functions: addresses of cuLaunchKernel, cuMemsetD8Async, cuMemcpyDtoHAsync, cuMemcpyHtoDAsync,\n"
           "cuStreamWaitEvent and cuEventRecord.")
      .def("launch", &Program::launch, py::arg("function"), py::arg("grid"), py::arg("block"), py::arg("shared"),
           py::arg("values"), py::arg("given"),
           "grid: a side of 0 is the count that run() is given; values: eight bytes an argument; given: pairs of an\n"
           "argument and the address that it is, of those that run() is given.")
      .def("fill", &Program::fill, py::arg("to"), py::arg("bytes"), "Zeros.")
      .def("to_host", &Program::to_host, py::arg("to"), py::arg("source"), py::arg("bytes"))
      .def("to_device", &Program::to_device, py::arg("to"), py::arg("source"), py::arg("bytes"))
      .def("wait", &Program::wait, py::arg("event"))
      .def("record", &Program::record, py::arg("event"))
      .def("run", &Program::run, py::arg("stream"), py::arg("given"), py::arg("count"),
           "-> the driver's answer to the first step that it refused (0: none), and that step's number.");
}

}  // namespace fastface
