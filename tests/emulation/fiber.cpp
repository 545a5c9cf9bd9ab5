#include "tests/emulation/fiber.h"

#include <atomic>

#if defined(EMULATION_TSAN)
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#define WITH_TSAN(...) __VA_ARGS__
#else
#define WITH_TSAN(...)
#endif
#if defined(EMULATION_ASAN)
#include <sanitizer/common_interface_defs.h>
#define WITH_ASAN(...) __VA_ARGS__
#else
#define WITH_ASAN(...)
#endif

// Switching stacks means: push the registers that a call preserves, exchange the stack pointers,
// pop. swapcontext() does the same on any machine, but by way of a system call, which takes longer
// than most of what a CUDA thread does between two switches.
#if defined(__x86_64__)
extern "C" void emulation_switch_stack(void** save, void* load);
asm(R"(
  .text
  .type emulation_switch_stack, @function
emulation_switch_stack:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
  .size emulation_switch_stack, .-emulation_switch_stack
)");
#endif

namespace emulation {
namespace {

constexpr std::size_t kStackBytes = 256 << 10;

constinit thread_local Fiber* running = nullptr;
constinit thread_local Fiber* left = nullptr;

}  // namespace

Fiber::Fiber() { WITH_TSAN(tsan_thread_ = __tsan_get_current_fiber();) }

Fiber::Fiber(void (*body)())
    : stack_(new std::byte[kStackBytes]), body_(body), bottom_(stack_.get()), size_(kStackBytes) {
#if defined(__x86_64__)
  // Stacks that end at the same address modulo a page would compete for the same lines of the
  // cache.
  static std::atomic<unsigned> count{0};
  const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(bottom_) + size_;
  auto* top = reinterpret_cast<void**>(end / 16 * 16 - count++ % 64 * 320);
  top[-2] =
      reinterpret_cast<void*>(&enter);  // what `ret` returns to, on a stack aligned as for a call
  stack_pointer_ = top - 8;             // the six registers below it
#else
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_.get();
  context_.uc_stack.ss_size = size_;
  makecontext(&context_, enter, 0);
#endif
  WITH_TSAN(tsan_thread_ = __tsan_create_fiber(0);)
}

Fiber::~Fiber() { WITH_TSAN(if (stack_) __tsan_destroy_fiber(tsan_thread_);) }

// Enters on one stack and returns on another, perhaps in another thread of the operating system: so
// not to be instrumented, and not to be mixed with code that remembers where a thread_local lives.
__attribute__((noinline, no_sanitize("thread"), no_sanitize("address"))) void Fiber::switch_from_to(
    Fiber& from, Fiber& to) {
  left = &from;
  running = &to;
  WITH_ASAN(__sanitizer_start_switch_fiber(&from.asan_stack_, to.bottom_, to.size_);)
  WITH_TSAN(__tsan_switch_to_fiber(to.tsan_thread_, __tsan_switch_to_fiber_no_sync);)
#if defined(__x86_64__)
  emulation_switch_stack(&from.stack_pointer_, to.stack_pointer_);
#else
  swapcontext(&from.context_, &to.context_);
#endif
  finish_switch(from);
}

// Now on the stack of `now`; learns the bounds of the one just left, which may be a thread's own.
__attribute__((noinline, no_sanitize("thread"), no_sanitize("address"))) void Fiber::finish_switch(
    [[maybe_unused]] Fiber& now) {
  WITH_ASAN(__sanitizer_finish_switch_fiber(now.asan_stack_, &left->bottom_, &left->size_);)
}

// Reads thread_locals before the race detector can know that this thread may.
__attribute__((no_sanitize("thread"))) void Fiber::enter() {
  finish_switch(*running);
  running->body_();
}

void happens_before([[maybe_unused]] void* place) { WITH_TSAN(__tsan_release(place);) }
void happens_after([[maybe_unused]] void* place) { WITH_TSAN(__tsan_acquire(place);) }

Unobserved::Unobserved() {
  WITH_TSAN(AnnotateIgnoreReadsBegin(__FILE__, __LINE__);)
  WITH_TSAN(AnnotateIgnoreWritesBegin(__FILE__, __LINE__);)
}
Unobserved::~Unobserved() {
  WITH_TSAN(AnnotateIgnoreWritesEnd(__FILE__, __LINE__);)
  WITH_TSAN(AnnotateIgnoreReadsEnd(__FILE__, __LINE__);)
}

}  // namespace emulation
