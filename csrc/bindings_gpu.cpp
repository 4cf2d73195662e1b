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
  int (*begin_capture)(Address stream, int mode);
  int (*end_capture)(Address stream, Address* graph);
  int (*instantiate)(Address* executable, Address graph, unsigned long long flags);
  int (*launch_graph)(Address executable, Address stream);
  int (*destroy_graph)(Address graph);
  int (*destroy_executable)(Address executable);
};
constexpr size_t kFunctions = sizeof(Driver) / sizeof(Address);
constexpr int kRelaxed = 2;  // CU_STREAM_CAPTURE_MODE_RELAXED: other threads do as they like meanwhile

// A graph is made when its steps are queued for this time: not for what is done once, and when kernels are loaded.
constexpr unsigned kGraphAt = 3;

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
using Step = std::variant<Launch, Fill, ToHost, ToDevice, Wait, Record>;

// Steps that depend on nothing that run() is given, and the CUDA graph that was made of them.
struct Group {
  std::vector<Step> steps;
  unsigned runs = 0;
  Address executable = 0;
};

class Program {
 public:
  explicit Program(const std::vector<Address>& functions) {
    if (functions.size() != kFunctions)
      throw py::value_error("there must be the addresses of " + std::to_string(kFunctions) + " functions");
    Address at[kFunctions];
    for (size_t i = 0; i < kFunctions; ++i) {
      if (!functions[i]) throw py::value_error("the address of function " + std::to_string(i) + " is 0");
      at[i] = functions[i];
    }
    static_assert(sizeof(Driver) == sizeof(at), "");
    std::memcpy(&driver_, at, sizeof(at));
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() {
    for (const auto& step : steps_)
      if (const auto* group = std::get_if<Group>(&step); group && group->executable)
        driver_.destroy_executable(group->executable);  // the driver waits until it has ended
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
    if (grouping_ && (!given.empty() || !grid[0] || !grid[1] || !grid[2]))
      throw py::value_error("what run() is given cannot be part of a graph");
    add(std::move(step));
  }
  void fill(Address to, size_t bytes) { add(Fill{to, bytes}); }
  void to_host(Address to, Address from, size_t bytes) { add(ToHost{to, from, bytes}); }
  void to_device(Address to, Address from, size_t bytes) { add(ToDevice{to, from, bytes}); }
  void wait(Address event) { add(Wait{event}); }
  void record(Address event) { add(Record{event}); }
  void group(bool begins) {
    if (begins) steps_.emplace_back(Group{});
    grouping_ = begins;
  }

  // How many of the groups are graphs by now.
  size_t graphs() const {
    return static_cast<size_t>(std::count_if(steps_.begin(), steps_.end(), [](const auto& step) {
      const auto* group = std::get_if<Group>(&step);
      return group && group->executable;
    }));
  }

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
  void add(Step step) {
    if (grouping_)
      std::get<Group>(steps_.back()).steps.push_back(std::move(step));
    else
      std::visit([&](auto& one) { steps_.emplace_back(std::move(one)); }, step);
  }

  int queue(Group& s, const Given& now) const {
    if (!s.executable && ++s.runs == kGraphAt)
      if (const int status = capture(s, now)) return status;
    if (s.executable) return driver_.launch_graph(s.executable, now.stream);
    return each(s, now);
  }
  int each(Group& s, const Given& now) const {
    for (auto& one : s.steps)
      if (const int status = std::visit([&](auto& step) { return queue(step, now); }, one)) return status;
    return 0;
  }
  // Makes the graph. Where there can be none (the legacy default stream, no memory), steps are queued one by one for ever.
  int capture(Group& s, const Given& now) const {
    if (s.steps.empty() || driver_.begin_capture(now.stream, kRelaxed)) return 0;
    const int status = each(s, now);
    Address graph = 0;
    const int ended = driver_.end_capture(now.stream, &graph);
    if (!status && !ended && driver_.instantiate(&s.executable, graph, 0)) s.executable = 0;
    if (graph) driver_.destroy_graph(graph);
    return status ? status : ended;
  }
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
  std::vector<std::variant<Launch, Fill, ToHost, ToDevice, Wait, Record, Group>> steps_;
  size_t wanted_ = 0;  // addresses
  bool grouping_ = false;
};

}  // namespace

void bind_gpu(py::module_& m) {
  py::class_<Program>(m, "Program", "Launches, copies and events for a stream of a GPU, queued by one call.")
      .def(py::init<const std::vector<Address>&>(), py::arg("functions"),
           "functions: addresses of cuLaunchKernel, cuMemsetD8Async, cuMemcpyDtoHAsync, cuMemcpyHtoDAsync,\n"
           "cuStreamWaitEvent, cuEventRecord, cuStreamBeginCapture_v2, cuStreamEndCapture, cuGraphInstantiateWithFlags,\n"
           "cuGraphLaunch, cuGraphDestroy and cuGraphExecDestroy.")
      .def("launch", &Program::launch, py::arg("function"), py::arg("grid"), py::arg("block"), py::arg("shared"),
           py::arg("values"), py::arg("given"),
           "grid: a side of 0 is the count that run() is given; values: eight bytes an argument; given: pairs of an\n"
           "argument and the address that it is, of those that run() is given.")
      .def("fill", &Program::fill, py::arg("to"), py::arg("bytes"), "Zeros.")
      .def("to_host", &Program::to_host, py::arg("to"), py::arg("source"), py::arg("bytes"))
      .def("to_device", &Program::to_device, py::arg("to"), py::arg("source"), py::arg("bytes"))
      .def("wait", &Program::wait, py::arg("event"))
      .def("record", &Program::record, py::arg("event"))
      .def("group", &Program::group, py::arg("begins"),
           "What is added from a group's beginning to its end becomes a graph when it is run for the third time.")
      .def_property_readonly("graphs", &Program::graphs, "How many groups are graphs by now.")
      .def("run", &Program::run, py::arg("stream"), py::arg("given"), py::arg("count"),
           "-> the driver's answer to the first step that it refused (0: none), and that step's number.");
}

}  // namespace fastface
