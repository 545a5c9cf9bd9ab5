#include "attune/kernels/conv_algorithm.h"

#include <atomic>

#include "attune/kernels/error.h"

namespace attune {
namespace {

std::atomic<ConvAlgorithm> chosen_algorithm{ConvAlgorithm::automatic};

}  // namespace

const char* to_string(ConvAlgorithm algorithm) {
  switch (algorithm) {
    case ConvAlgorithm::automatic:
      return "automatic";
    case ConvAlgorithm::direct:
      return "direct";
    case ConvAlgorithm::winograd:
      break;
  }
  return "winograd";
}

ConvAlgorithm parse_conv_algorithm(const std::string& text) {
  for (const auto algorithm :
       {ConvAlgorithm::automatic, ConvAlgorithm::direct, ConvAlgorithm::winograd}) {
    if (text == to_string(algorithm)) return algorithm;
  }
  throw Error("there is no convolution algorithm '" + text +
              "': choose automatic, direct or winograd");
}

void set_conv_algorithm(ConvAlgorithm algorithm) { chosen_algorithm = algorithm; }

ConvAlgorithm conv_algorithm() { return chosen_algorithm; }

}  // namespace attune
