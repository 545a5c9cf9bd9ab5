#include "summary/prediction.h"

#include <attune/core/graph_report.h>
#include <attune/core/ops/softmax_cross_entropy.h>
#include <attune/core/tensor.h>
#include <attune/layers/construct_on.h>
#include <attune/layers/conv_bn.h>

#include <cstddef>

namespace attune::examples {

std::array<std::int64_t, kModes.size()> predict_saved_bytes(const NetworkMaker& make,
                                                            std::int64_t side, std::int64_t batch) {
  std::array<std::int64_t, kModes.size()> bytes{};
  for (std::size_t i = 0; i < kModes.size(); ++i) {
    const ConstructOn scope(Device::meta);
    const auto net = make();
    if (kModes[i] == Mode::deploy) {
      net->deploy();
    } else {
      net->set_mode(kModes[i]);
    }
    const Tensor images = Tensor::empty({batch, side, side, 3}, DType::float32, Device::meta);
    const Tensor targets = Tensor::empty({batch}, DType::int64, Device::meta);
    bytes[i] = saved_bytes(softmax_cross_entropy((*net)(images), targets), {images});
  }
  return bytes;
}

std::int64_t folded_filter_bytes(const Module& net) {
  std::int64_t bytes = 0;
  net.for_each_module([&](const std::string&, const Module& part) {
    if (const auto* const block = dynamic_cast<const ConvBN*>(&part)) {
      bytes += block->weight().bytes();
    }
  });
  return bytes;
}

std::optional<std::int64_t> published_break_even(std::int64_t eval, std::int64_t tune,
                                                 std::int64_t filters) {
  if (eval <= tune) return {};
  return filters / (eval - tune) + 1;
}

}  // namespace attune::examples
