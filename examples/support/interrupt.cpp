#include "support/interrupt.h"

#include <csignal>

namespace attune::examples {
namespace {

// All that a signal handler may touch.
volatile std::sig_atomic_t signal_seen = 0;

extern "C" void on_signal(int) { signal_seen = 1; }

}  // namespace

InterruptGuard::InterruptGuard() {
  signal_seen = 0;
  struct sigaction action = {};
  action.sa_handler = on_signal;
  // After the first signal the default action is back. Interrupted system calls start again.
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

InterruptGuard::~InterruptGuard() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

bool interrupted() { return signal_seen != 0; }

}  // namespace attune::examples
