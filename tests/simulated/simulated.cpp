// The threads of simulated.h.
#include "simulated.h"

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace simulated {

uint3 thread_index, block_index, block_size, grid_size;

namespace {

constexpr std::size_t kStack = 256 << 10, kShared = 256 << 10, kPage = 4096;

enum class State { kNew, kReady, kAtBarrier, kInWarp, kDone };

struct Thread {
  State state;
  uint3 index;
  jmp_buf place;
  unsigned char* stack;
};

struct Warp {
  void* mine[32];
  int arrived;
};

std::vector<Thread> threads;
std::vector<Warp> warps;
std::vector<unsigned char*> stacks;
jmp_buf scheduler;
ucontext_t home;
Thread* current;
void (*the_body)(void*);
void* the_argument;
unsigned char* shared_begin;
unsigned int shared_size;

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "simulated kernel: %s (thread %u of block %u, %u)\n", what, thread_index.x, block_index.x,
               block_index.y);
  std::abort();
}

int lanes_of(std::size_t warp) {
  const std::size_t left = threads.size() - 32 * warp;
  return left < 32 ? static_cast<int>(left) : 32;
}

void entry() {
  the_body(the_argument);
  current->state = State::kDone;
  _longjmp(scheduler, 1);
}

void leave(State state) {
  Thread* const mine = current;
  mine->state = state;
  if (!_setjmp(mine->place)) _longjmp(scheduler, 1);
}

void resume(Thread& thread) {
  current = &thread;
  thread_index = thread.index;
  const bool fresh = thread.state == State::kNew;
  thread.state = State::kReady;
  if (_setjmp(scheduler)) return;
  if (!fresh) _longjmp(thread.place, 1);
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = thread.stack;
  context.uc_stack.ss_size = kStack;
  context.uc_link = nullptr;
  makecontext(&context, entry, 0);
  setcontext(&context);
}

bool runs(const Thread& t) { return t.state == State::kNew || t.state == State::kReady; }

void run_warp(std::size_t warp, int order) {
  const int lanes = lanes_of(warp);
  for (bool any = true; any;) {
    any = false;
    for (int i = 0; i < lanes; ++i) {
      Thread& thread = threads[32 * warp + (order ? lanes - 1 - i : i)];
      if (!runs(thread)) continue;
      resume(thread);
      any = true;
    }
  }
}

void run_block(int order) {
  for (;;) {
    for (std::size_t i = 0; i < warps.size(); ++i) run_warp(order ? warps.size() - 1 - i : i, order);
    bool waiting = false;
    for (Thread& t : threads) {
      if (t.state == State::kInWarp) fail("lanes of a warp wait for others that do not come");
      waiting = waiting || t.state == State::kAtBarrier;
    }
    if (!waiting) return;
    for (Thread& t : threads)
      if (t.state == State::kAtBarrier) t.state = State::kReady;
  }
}

}  // namespace

void barrier() { leave(State::kAtBarrier); }

void warp_wide(void* mine, void (*work)(void* const* lanes)) {
  const std::size_t number = static_cast<std::size_t>(current - threads.data()), warp = number / 32;
  Warp& w = warps[warp];
  w.mine[number % 32] = mine;
  if (++w.arrived < 32) {
    leave(State::kInWarp);
    return;
  }
  w.arrived = 0;
  work(w.mine);
  for (int i = 0; i < 32; ++i)
    if (threads[32 * warp + i].state == State::kInWarp) threads[32 * warp + i].state = State::kReady;
}

void* shared_memory() { return shared_begin; }

unsigned int shared_offset(const void* p) {
  const std::ptrdiff_t at = static_cast<const unsigned char*>(p) - shared_begin;
  if (at < 0 || at > static_cast<std::ptrdiff_t>(shared_size)) fail("an address is not in dynamic shared memory");
  return static_cast<unsigned int>(at);
}

unsigned char* shared_at(unsigned int offset, unsigned int alignment) {
  if (offset % alignment || offset + alignment > shared_size) fail("an address in shared memory is not allowed");
  return shared_begin + offset;
}

void run(uint3 grid, uint3 block, unsigned int shared_bytes, int order, void (*body)(void*), void* argument) {
  static unsigned char* const memory = [] {  // with pages behind it that nobody may touch
    void* p = mmap(nullptr, kShared + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(static_cast<unsigned char*>(p) + kShared, kPage, PROT_NONE)) fail("no memory");
    return static_cast<unsigned char*>(p);
  }();
  if (shared_bytes > kShared || block.y != 1 || block.z != 1) fail("such a launch is not known");
  const unsigned int count = block.x;
  while (stacks.size() < count) {
    void* p = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) fail("no memory for threads");
    stacks.push_back(static_cast<unsigned char*>(p));
  }
  shared_size = (shared_bytes + 15) / 16 * 16;
  shared_begin = memory + kShared - shared_size;
  the_body = body;
  the_argument = argument;
  grid_size = grid;
  block_size = block;
  for (unsigned int z = 0; z < grid.z; ++z)
    for (unsigned int y = 0; y < grid.y; ++y)
      for (unsigned int x = 0; x < grid.x; ++x) {
        block_index = {x, y, z};
        std::memset(shared_begin, 0xff, shared_size);
        threads.assign(count, Thread{});
        warps.assign((count + 31) / 32, Warp{});
        for (unsigned int i = 0; i < count; ++i) {
          threads[i].state = State::kNew;
          threads[i].index = {i, 0, 0};
          threads[i].stack = stacks[i];
        }
        run_block(order);
      }
}

}  // namespace simulated
