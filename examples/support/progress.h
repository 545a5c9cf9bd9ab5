#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string>

namespace attune::examples {

enum class ProgressStyle : std::uint8_t {
  automatic,  ///< a bar on a terminal, lines otherwise
  plain,      ///< a line from time to time
  off,
};

/// "automatic" becomes the bar only if stderr is a terminal that can move its cursor.
bool stderr_takes_bar();

/// A number of seconds for people: "0:07", "12:34", "1:02:03".
std::string duration_text(double seconds);

/// How far a loop has come, how fast it is and how long it will still take:
///
///     Progress progress("epoch 1/5", images, "images", style);
///     while (...) progress.advance(64, "loss 1.234");
///     progress.finish();
///
/// It goes to stderr, so that results on stdout stay clean. On a terminal the bar is coloured,
/// unless the environment variable NO_COLOR is set (no-color.org).
class Progress {
 public:
  Progress(std::string title, std::int64_t total, std::string unit, ProgressStyle style);
  /// As above, for any stream.
  Progress(std::string title, std::int64_t total, std::string unit, std::ostream& out, bool bar,
           bool color, std::size_t width = 80);
  /// Leaves the cursor on a fresh line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// So many more of the total are done. Draws at most a few times a second. On a terminal the note
  /// is cut where the line ends.
  void advance(std::int64_t count, const std::string& note = {});
  /// Draws the last state, unless it was drawn. Later calls do nothing.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;

  void draw();
  std::string line() const;

  std::string title_;
  std::int64_t total_;
  std::string unit_;
  std::ostream* out_;  // null: off
  bool bar_;
  bool color_;
  std::size_t width_;  // of the terminal
  std::int64_t done_ = 0;
  std::string note_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point drawn_ = start_;
  std::int64_t drawn_done_ = -1;
  bool cursor_in_line_ = false;
  bool finished_ = false;
};

}  // namespace attune::examples
