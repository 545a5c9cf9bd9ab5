#include "attune/layers/recompute.h"

#include <array>

#include "attune/core/error.h"

namespace attune {

std::string to_string(const Recompute& recompute) {
  if (recompute.activations) return recompute.blocks ? "activations,blocks" : "activations";
  return recompute.blocks ? "blocks" : "none";
}

Recompute parse_recompute(const std::string& text) {
  constexpr std::array<Recompute, 4> choices{
      {{}, {.activations = true}, {.blocks = true}, {.activations = true, .blocks = true}}};
  for (const Recompute& choice : choices) {
    if (text == to_string(choice)) return choice;
  }
  throw Error("recompute: '" + text +
              "' is not one of none, activations, blocks, activations,blocks");
}

}  // namespace attune
