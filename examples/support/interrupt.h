#pragma once

namespace attune::examples {

/// While it lives, the first Ctrl-C (or SIGTERM) does not end the program but makes interrupted()
/// true, so that a loop can stop between two steps and write what it has. A second one ends the
/// program at once. There is one at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
};

/// Whether the program has been asked to stop.
bool interrupted();

}  // namespace attune::examples
