#include "support/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <string_view>

namespace attune::examples {
namespace {

constexpr int kBarWidth = 24;
// Often enough to look alive; rarely enough that a log file stays short.
constexpr double kBarSeconds = 0.1, kLineSeconds = 10;

bool environment_has(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0';
}

std::size_t stderr_width() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace

bool stderr_takes_bar() {
  const char* terminal = std::getenv("TERM");
  return isatty(STDERR_FILENO) != 0 && terminal != nullptr && std::string_view(terminal) != "dumb";
}

std::string duration_text(double seconds) {
  const auto total = static_cast<std::int64_t>(std::llround(std::max(0.0, seconds)));
  const std::int64_t hours = total / 3600, minutes = total / 60 % 60;
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, total % 60);
  return fmt::format("{}:{:02}", minutes, total % 60);
}

Progress::Progress(std::string title, std::int64_t total, std::string unit, ProgressStyle style)
    : Progress(std::move(title), total, std::move(unit), std::cerr,
               style == ProgressStyle::automatic && stderr_takes_bar(),
               !environment_has("NO_COLOR"), stderr_width()) {
  if (style == ProgressStyle::off) out_ = nullptr;
}

Progress::Progress(std::string title, std::int64_t total, std::string unit, std::ostream& out,
                   bool bar, bool color, std::size_t width)
    : title_(std::move(title)),
      total_(total),
      unit_(std::move(unit)),
      out_(&out),
      bar_(bar),
      color_(color),
      width_(width) {}

Progress::~Progress() {
  if (cursor_in_line_) *out_ << std::endl;
}

void Progress::advance(std::int64_t count, const std::string& note) {
  done_ += count;
  note_ = note;
  const std::chrono::duration<double> since = Clock::now() - drawn_;
  if (since.count() >= (bar_ ? kBarSeconds : kLineSeconds)) draw();
}

void Progress::finish() {
  if (finished_) return;
  if (drawn_done_ != done_) draw();
  finished_ = true;
  if (cursor_in_line_) *out_ << std::endl;
  cursor_in_line_ = false;
}

void Progress::draw() {
  if (out_ == nullptr || finished_) return;
  drawn_ = Clock::now();
  drawn_done_ = done_;
  if (bar_) {
    // Back to the line's beginning; what a longer line before has left is erased.
    *out_ << "\r" << line() << "\033[K" << std::flush;
    cursor_in_line_ = true;
  } else {
    *out_ << line() << std::endl;
  }
}

std::string Progress::line() const {
  const double share =
      total_ > 0 ? std::clamp(static_cast<double>(done_) / static_cast<double>(total_), 0.0, 1.0)
                 : 1;
  std::string text = fmt::format(" {:3.0f} %", 100 * share);
  const std::chrono::duration<double> spent = Clock::now() - start_;
  const double rate = static_cast<double>(done_) / std::max(spent.count(), 1e-9);
  if (done_ > 0) {
    text += fmt::format("  {:.{}f} {}/s", rate, rate < 10 ? 1 : 0, unit_);
    text += done_ < total_ ? fmt::format("  {} left",
                                         duration_text(static_cast<double>(total_ - done_) / rate))
                           : fmt::format("  {}", duration_text(spent.count()));
  }
  if (!note_.empty()) text += "  " + note_;
  if (!bar_) return title_ + text;

  const int filled = static_cast<int>(std::lround(share * kBarWidth));
  const std::string full(static_cast<std::size_t>(filled), '=');
  const std::string rest(static_cast<std::size_t>(kBarWidth - filled), '.');
  // A line longer than the terminal would wrap, and the next one not overwrite all of it.
  const std::size_t before = title_.size() + kBarWidth + 3;
  text.resize(std::min(text.size(), width_ - std::min(width_, before + 1)));
  return title_ +
         (color_ ? fmt::format(" [\033[32m{}\033[0m{}]", full, rest)
                 : fmt::format(" [{}{}]", full, rest)) +
         text;
}

}  // namespace attune::examples
