#pragma once

#include <cstdint>
#include <string>

namespace attune {

/// How the CPU computes convolutions.
enum class ConvAlgorithm : std::uint8_t {
  automatic,  ///< the fastest for each geometry; `direct` where the tensors are of doubles
  direct,     ///< sums of products in one order: the smallest rounding error
  winograd,   ///< F(4x4, 3x3) wherever it applies, that is for filters of 3x3 with stride 1,
              ///< dilation 1 and no groups, padding up to 2, channels in multiples of 16
};

/// "automatic", "direct" or "winograd".
const char* to_string(ConvAlgorithm algorithm);

/// The inverse of to_string(). Throws Error, listing the choices, for any other text.
ConvAlgorithm parse_conv_algorithm(const std::string& text);

/// Chooses for the whole process from now on; the default is `automatic`. The error of Winograd's
/// algorithm is about ten times that of the direct one: docs/fast_convolution.md has figures.
void set_conv_algorithm(ConvAlgorithm algorithm);

ConvAlgorithm conv_algorithm();

}  // namespace attune
