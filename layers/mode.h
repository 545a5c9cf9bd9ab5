#pragma once

#include <cstdint>
#include <string>

namespace attune {

/// How a convolution and the batch normalisation behind it are computed and differentiated (after
/// You et al., "Efficient ConvBN Blocks for Transfer Learning and Beyond", arXiv 2305.11624):
///
/// |        | statistics | weight used  | kept for backward | gradients reach            |
/// |--------|------------|--------------|-------------------|----------------------------|
/// | train  | batch      | as it is     | x and conv(x)     | weight, bias, gamma, beta  |
/// | eval   | running    | as it is     | x and conv(x)     | weight, bias, gamma, beta  |
/// | tune   | running    | folded anew  | x                 | weight, bias, gamma, beta  |
/// | deploy | running    | folded once  | x                 | the folded weight and bias |
///
/// Eval and Tune compute the same function and the same gradients. A mode says which statistics are
/// used and how. It never touches requires_grad, dropout, or whether gradients are recorded.
enum class Mode : std::uint8_t { train, eval, tune, deploy };

/// "train", "eval", "tune" or "deploy".
const char* to_string(Mode mode);

/// The inverse of to_string(). Throws Error, listing the choices, for any other text.
Mode parse_mode(const std::string& text);

}  // namespace attune
