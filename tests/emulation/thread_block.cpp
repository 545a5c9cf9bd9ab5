#include "tests/emulation/thread_block.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <numeric>
#include <thread>

namespace emulation {

constinit thread_local ThreadBlock* this_block = nullptr;

void fail(const std::string& mistake, Where where) {
  std::fprintf(stderr, "CUDA emulation: %s\n  at %s:%d\n", mistake.c_str(), where.file, where.line);
  std::abort();
}

namespace {

// ---- turns
// ---------------------------------------------------------------------------------------

/// The next thread that can go on; null if all are done. None can, but some wait: for ever.
Thread* next_ready(ThreadBlock& block) {
  for (unsigned i = 0; i < block.size; ++i) {
    if (++block.turn >= block.size) block.turn = 0;
    Thread* thread = block.threads[block.order[block.turn]].get();
    if (thread->state == Thread::State::ready) return thread;
  }
  for (unsigned i = 0; i < block.size; ++i) {
    const Thread& thread = *block.threads[i];
    if (thread.state != Thread::State::done) {
      fail("deadlock, a thread waits for one that never comes", thread.where);
    }
  }
  return nullptr;
}

void let_others_run() {
  Fiber* from = nullptr;
  Fiber* to = nullptr;
  {
    const Unobserved unobserved;
    ThreadBlock& block = *this_block;
    from = block.running != nullptr ? &block.running->fiber : block.system_thread;
    block.running = next_ready(block);
    to = block.running != nullptr ? &block.running->fiber : block.system_thread;
  }
  if (from != to) Fiber::switch_from_to(*from, *to);
}

void open_barrier(ThreadBlock& block) {
  const Where* where = nullptr;
  for (unsigned i = 0; i < block.size; ++i) {
    Thread& thread = *block.threads[i];
    if (thread.state != Thread::State::at_barrier) continue;
    if (where != nullptr && where->line != thread.where.line) {
      fail("threads of one block wait at different barriers, the other one at line " +
               std::to_string(where->line),
           thread.where);
    }
    where = &thread.where;
    thread.state = Thread::State::ready;
  }
  block.at_barrier = 0;
  happens_after(&block.places->barrier_entry);
  happens_before(&block.places->barrier_exit);
  // Begin anywhere, and in either direction.
  block.turn = static_cast<unsigned>(block.random() % block.size);
  if (block.random() % 2 == 0) std::reverse(block.order.begin(), block.order.end());
}

// ---- threads and blocks
// --------------------------------------------------------------------------

// One thread of one block. Not inlined: at the end the fiber may move on to another thread of the
// operating system, where `this_block` lives elsewhere.
__attribute__((noinline)) void run_thread() {
  BlockPlaces* places = nullptr;
  {
    const Unobserved unobserved;
    places = this_block->places.get();
  }
  happens_after(&places->start);
  (*this_block->kernel)();
  happens_before(&this_block->end);
  {
    const Unobserved unobserved;
    ThreadBlock& block = *this_block;
    block.running->state = Thread::State::done;
    if (--block.alive > 0 && block.at_barrier == block.alive) open_barrier(block);
  }
  let_others_run();
}

[[noreturn]] void run_threads() {
  for (;;) run_thread();
}

void run_block(ThreadBlock& block, unsigned i) {
  block.index = {i % block.grid.x, i / block.grid.x % block.grid.y,
                 i / block.grid.x / block.grid.y};
  block.alive = block.size;
  // New ones for each block: what happens in one comes neither before nor after another.
  block.places = std::make_unique<BlockPlaces>();
  block.warps = std::vector<Warp>((block.size + kWarpSize - 1) / kWarpSize);
  // Anew for each block and of the exact size, for the sanitizers; all bits set make a NaN.
  block.shared.reset(new float4[(block.shared_bytes + sizeof(float4) - 1) / sizeof(float4)]);
  std::memset(block.shared.get(), 0xff, block.shared_bytes);
  std::shuffle(block.threads.begin(), block.threads.end(), block.random);
  std::shuffle(block.order.begin(), block.order.end(), block.random);
  for (unsigned t = 0; t < block.size; ++t) {
    Thread& thread = *block.threads[t];
    thread.state = Thread::State::ready;
    thread.index = {t % block.dim.x, t / block.dim.x % block.dim.y, t / block.dim.x / block.dim.y};
    thread.lane = t % kWarpSize;
    thread.warp = t / kWarpSize;
    thread.copies.assign(1, {});
  }
  happens_before(&block.places->start);
  let_others_run();
}

// Fibers are expensive to make, so they are kept for the next grid.
class IdleBlocks {
 public:
  std::unique_ptr<ThreadBlock> take() {
    const std::lock_guard lock(mutex_);
    if (blocks_.empty()) return std::make_unique<ThreadBlock>();
    std::unique_ptr<ThreadBlock> block = std::move(blocks_.back());
    blocks_.pop_back();
    return block;
  }

  void give_back(std::unique_ptr<ThreadBlock> block) {
    const std::lock_guard lock(mutex_);
    blocks_.push_back(std::move(block));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<ThreadBlock>> blocks_;
};

IdleBlocks& idle_blocks() {
  static IdleBlocks blocks;
  return blocks;
}

}  // namespace

unsigned seed() {
  const char* text = std::getenv("ATTUNE_EMULATION_SEED");
  return text != nullptr ? static_cast<unsigned>(std::strtoul(text, nullptr, 10)) : 1;
}

Thread::Thread() : fiber(run_threads) {}

void run_grid(dim3 grid, dim3 dim, std::size_t shared_bytes, const std::function<void()>& kernel) {
  const unsigned size = dim.x * dim.y * dim.z;
  const unsigned blocks = grid.x * grid.y * grid.z;
  std::minstd_rand random(seed());
  std::vector<unsigned> indices(blocks);
  std::iota(indices.begin(), indices.end(), 0U);
  std::shuffle(indices.begin(), indices.end(), random);

  std::atomic<unsigned> next{0};
  const auto work = [&](unsigned worker_seed) {
    std::unique_ptr<ThreadBlock> block = idle_blocks().take();
    const Unobserved unobserved;
    Fiber system_thread;
    block->system_thread = &system_thread;
    block->size = size;
    block->dim = dim;
    block->grid = grid;
    block->shared_bytes = shared_bytes;
    block->kernel = &kernel;
    block->random.seed(worker_seed);
    while (block->threads.size() < size) block->threads.push_back(std::make_unique<Thread>());
    block->order.resize(size);
    std::iota(block->order.begin(), block->order.end(), 0U);
    this_block = block.get();
    for (unsigned i = next++; i < blocks; i = next++) run_block(*block, indices[i]);
    this_block = nullptr;
    happens_after(&block->end);
    block->shared.reset();
    idle_blocks().give_back(std::move(block));
  };
  std::vector<std::jthread> workers(
      std::min(blocks, std::max(1U, std::thread::hardware_concurrency())) - 1);
  for (std::jthread& worker : workers) worker = std::jthread(work, random());
  work(static_cast<unsigned>(random()));
}

// ---- barriers and warp operations
// ----------------------------------------------------------------

void synchronize_block(Where where) {
  const Unobserved unobserved;
  ThreadBlock& block = *this_block;
  block.running->state = Thread::State::at_barrier;
  block.running->where = where;
  happens_before(&block.places->barrier_entry);
  if (++block.at_barrier == block.alive) {
    open_barrier(block);
  } else {
    let_others_run();
  }
  happens_after(&block.places->barrier_exit);
}

void* shared_memory(std::size_t bytes, Where where) {
  if (bytes > this_block->shared_bytes) {
    fail("launched with " + std::to_string(this_block->shared_bytes) +
             " bytes of shared memory, but the kernel uses " + std::to_string(bytes),
         where);
  }
  return this_block->shared.get();
}

bool enter_warp_operation(unsigned mask, const void* argument, void* result, Where where,
                          Lanes& lanes) {
  ThreadBlock& block = *this_block;
  Thread& self = *block.running;
  if ((mask >> self.lane & 1) == 0) {
    fail("a lane that is not in the mask runs this warp operation", where);
  }
  self.mask = mask;
  self.argument = argument;
  self.result = result;
  self.where = where;
  Warp& warp = block.warps[self.warp];
  warp.arrived |= 1U << self.lane;
  happens_before(&warp.entry);
  if ((warp.arrived & mask) != mask) {
    self.state = Thread::State::in_warp_operation;
    let_others_run();
    happens_after(&warp.exit);
    return false;
  }
  happens_after(&warp.entry);
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    lanes[lane] = nullptr;
    if ((mask >> lane & 1) == 0) continue;
    Thread& thread = *block.threads[self.warp * kWarpSize + lane];
    if (thread.mask != mask || thread.where.line != where.line) {
      fail("lanes of a warp disagree about the warp operation, the other one is at line " +
               std::to_string(thread.where.line),
           where);
    }
    lanes[lane] = &thread;
  }
  return true;
}

void leave_warp_operation(const Lanes& lanes) {
  Warp& warp = this_block->warps[this_block->running->warp];
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    if (lanes[lane] == nullptr) continue;
    lanes[lane]->state = Thread::State::ready;
    warp.arrived &= ~(1U << lane);
  }
  happens_before(&warp.exit);
}

}  // namespace emulation
