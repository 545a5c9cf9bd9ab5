#pragma once

#include <string>

namespace attune {

/// What backward computes again, to the same bits, instead of having forward keep it: memory for
/// time (Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174).
/// Module::set_recompute() switches it; core/ops/conv_bn.h says what becomes of each layer.
struct Recompute {
  /// In Train, the output of every ConvBN without a residual: from its convolution's output, which
  /// Train keeps in any case.
  bool activations = false;
  /// In every mode, the first convolution of each residual block of a ResNet: from the block's
  /// input.
  bool blocks = false;

  bool operator==(const Recompute&) const = default;
};

/// "none", "activations", "blocks" or "activations,blocks".
std::string to_string(const Recompute& recompute);

/// The inverse of to_string(). Throws Error, listing the choices, for any other text.
Recompute parse_recompute(const std::string& text);

}  // namespace attune
