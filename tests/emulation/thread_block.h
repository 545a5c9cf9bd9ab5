#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/emulation/fiber.h"
#include "tests/emulation/vector_types.h"

// How a kernel runs without a GPU. Each thread of a block is a fiber. The fibers of a block take
// turns on one thread of the operating system and change over only where a GPU's thread may have to
// wait: at __syncthreads() and at the operations of a warp. A barrier is a counter, the last to
// arrive opens it; an operation of a warp is carried out by its last lane to arrive, on behalf of
// all.
namespace emulation {

inline constexpr unsigned kWarpSize = 32;
inline constexpr std::size_t kMostSharedBytes = 227 << 10;

/// A line of a kernel's source.
struct Where {
  const char* file = "";
  int line = 0;

  static Where current(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

/// Reports a kernel's mistake, which no test can survive: prints it and aborts.
[[noreturn]] void fail(const std::string& mistake, Where where);

/// A cp.async under way.
struct PendingCopy {
  void* to;
  const void* from;
  bool valid;  ///< otherwise zeros are written
};

struct Thread {
  enum class State { ready, at_barrier, in_warp_operation, done };

  Thread();

  Fiber fiber;
  State state = State::done;
  uint3 index{};
  unsigned lane = 0;
  unsigned warp = 0;
  // The barrier or warp operation that it waits in, and what it brought along to the latter.
  Where where;
  unsigned mask = 0;
  const void* argument = nullptr;
  void* result = nullptr;
  std::list<std::vector<PendingCopy>>
      copies;  // cp.async groups, the oldest first; the last is open
};

struct Warp {
  unsigned arrived = 0;  // lanes that are in a warp operation
  char entry = 0;        // places for happens_before() and happens_after(), as below
  char exit = 0;
};

struct BlockPlaces {
  char start = 0;
  char barrier_entry = 0;
  char barrier_exit = 0;
};

/// One block under way, and the fibers that it and later blocks run on.
struct ThreadBlock {
  std::vector<std::unique_ptr<Thread>>
      threads;                  // in the order of threadIdx; may be more than `size`
  std::vector<unsigned> order;  // in which they get their turns
  std::vector<Warp> warps;
  std::unique_ptr<BlockPlaces> places;
  unsigned size = 0;
  unsigned alive = 0;       // threads that have not returned
  unsigned at_barrier = 0;  // and those of them that wait in __syncthreads()
  unsigned turn = 0;        // position in `order`
  Thread* running = nullptr;
  Fiber* system_thread = nullptr;  // where the block was started, and returns to in the end
  const std::function<void()>* kernel = nullptr;
  std::unique_ptr<float4[]> shared;
  std::size_t shared_bytes = 0;
  uint3 index{};
  dim3 dim;
  dim3 grid;
  std::minstd_rand random;
  char end = 0;  // the place where the threads of all blocks are over
};

/// The block whose thread this is.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local ThreadBlock* this_block;

/// Runs `kernel` for each thread of each block: the blocks in random order on all processors, their
/// threads in random order too.
void run_grid(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& kernel);

/// What all that is left to chance begins with: the environment variable ATTUNE_EMULATION_SEED.
unsigned seed();

/// __syncthreads().
void synchronize_block(Where where);

/// The block's dynamic shared memory, of which `bytes` are going to be used.
void* shared_memory(std::size_t bytes, Where where);

/// The lanes that take part in a warp operation; null elsewhere.
using Lanes = std::array<Thread*, kWarpSize>;

/// Enters a warp operation. True for the last of the lanes in `mask` to arrive: it has `lanes`,
/// does the work and calls leave_warp_operation(). The others return when that has happened.
bool enter_warp_operation(unsigned mask, const void* argument, void* result, Where where,
                          Lanes& lanes);
void leave_warp_operation(const Lanes& lanes);

/// A warp operation: every lane in `mask` brings an argument, and `work(arguments, results)`, given
/// arrays of 32 pointers, works out all results; those of lanes outside `mask` are null.
template <typename Result, typename Argument, typename Work>
Result warp_operation(unsigned mask, const Argument& argument, Work work, Where where) {
  Result result{};
  const Unobserved unobserved;
  Lanes lanes;
  if (enter_warp_operation(mask, &argument, &result, where, lanes)) {
    const Argument* arguments[kWarpSize] = {};
    Result* results[kWarpSize] = {};
    for (unsigned lane = 0; lane < kWarpSize; ++lane) {
      if (lanes[lane] == nullptr) continue;
      arguments[lane] = static_cast<const Argument*>(lanes[lane]->argument);
      results[lane] = static_cast<Result*>(lanes[lane]->result);
    }
    work(arguments, results);
    leave_warp_operation(lanes);
  }
  return result;
}

}  // namespace emulation
