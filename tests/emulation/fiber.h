#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

// GCC announces its sanitizers by macros, Clang by features.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define EMULATION_TSAN 1
#endif
#if __has_feature(address_sanitizer)
#define EMULATION_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define EMULATION_TSAN 1
#endif
#if defined(__SANITIZE_ADDRESS__)
#define EMULATION_ASAN 1
#endif

namespace emulation {

/// A function call with a stack of its own, which can be left in the middle and gone on with later.
/// To the sanitizers every fiber is a thread: that is how they see each CUDA thread for itself.
class Fiber {
 public:
  /// The operating system's thread that runs this constructor.
  Fiber();
  /// Calls `body` on a new stack when first switched to. `body` never returns.
  explicit Fiber(void (*body)());
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Leaves `from`, which is running, and goes on where `to` was left.
  static void switch_from_to(Fiber& from, Fiber& to);

 private:
  static void enter();
  static void finish_switch(Fiber& now);

  std::unique_ptr<std::byte[]> stack_;
  void (*body_)() = nullptr;
#if defined(__x86_64__)
  void* stack_pointer_ = nullptr;  // where the stack was left
#else
  ucontext_t context_;
#endif
  // The sanitizers' view: the bounds of the stack, their shadow of it, their name of the thread.
  [[maybe_unused]] const void* bottom_ = nullptr;
  [[maybe_unused]] std::size_t size_ = 0;
  [[maybe_unused]] void* asan_stack_ = nullptr;
  [[maybe_unused]] void* tsan_thread_ = nullptr;
};

/// Tells the race detector that all the thread did before happens_before(place) comes earlier than
/// what another does after happens_after(place).
void happens_before(void* place);
void happens_after(void* place);

/// While one lives, the race detector overlooks what its thread reads and writes: the emulation's
/// own bookkeeping, which all fibers of an operating system's thread share.
class Unobserved {
 public:
  Unobserved();
  ~Unobserved();
  Unobserved(const Unobserved&) = delete;
  Unobserved& operator=(const Unobserved&) = delete;
};

}  // namespace emulation
