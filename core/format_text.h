#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>

namespace attune {

/// format_text() with its arguments captured; the only function of the library that needs more of
/// fmt than this header.
std::string vformat_text(fmt::string_view format, fmt::format_args arguments);

/// fmt::format(). That one compiles fmt's formatting code into every source file that calls it
/// (2.5 s each), this one only captures the arguments. The format string is checked all the same
/// at compile time.
template <typename... Args>
std::string format_text(fmt::format_string<Args...> format, const Args&... arguments) {
  return vformat_text(format, fmt::make_format_args(arguments...));
}

/// The elements of `range` as {} formats them, with `separator` in between.
template <typename Range>
std::string join_text(const Range& range, std::string_view separator) {
  std::string text;
  std::string_view before_next;
  for (const auto& element : range) {
    text += before_next;
    text += format_text("{}", element);
    before_next = separator;
  }
  return text;
}

}  // namespace attune
