#include "attune/layers/mode.h"

#include "attune/core/error.h"

namespace attune {

const char* to_string(Mode mode) {
  switch (mode) {
    case Mode::train:
      return "train";
    case Mode::eval:
      return "eval";
    case Mode::tune:
      return "tune";
    case Mode::deploy:
      break;
  }
  return "deploy";
}

Mode parse_mode(const std::string& text) {
  for (const Mode mode : {Mode::train, Mode::eval, Mode::tune, Mode::deploy}) {
    if (text == to_string(mode)) return mode;
  }
  throw Error("mode: '" + text + "' is not one of train, eval, tune, deploy");
}

}  // namespace attune
