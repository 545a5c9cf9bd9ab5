// Compiles fmt into this file, and into no other: whoever links the library then needs no fmt.
#define FMT_HEADER_ONLY

#include "attune/core/format_text.h"

#include <fmt/format.h>

namespace attune {

std::string vformat_text(fmt::string_view format, fmt::format_args arguments) {
  return fmt::vformat(format, arguments);
}

}  // namespace attune
