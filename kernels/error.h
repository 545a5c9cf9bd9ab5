#pragma once

#include <stdexcept>

namespace attune {

/// What every function of this library throws on bad input. The message names the operation, the
/// argument and the shapes (or the file and the byte offset) involved, in one line.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace attune
