#include "attune/layers/fuse_conv_bn.h"

#include <utility>
#include <vector>

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/layers/sequential.h"

namespace attune {
namespace {

template <typename Convolution>
std::shared_ptr<ConvBN> fuse(const Convolution& conv, const BatchNorm2d& norm) {
  const typename Convolution::Options& o = conv.options();
  if (norm.options().channels != o.out_channels) {
    throw Error(format_text("fuse_conv_bn: {} '{}' has {} output channels, but BatchNorm2d '{}' {}",
                            conv.type_name(), conv.path(), o.out_channels, norm.path(),
                            norm.options().channels));
  }
  ConvBNOptions options{.in_channels = o.in_channels,
                        .out_channels = o.out_channels,
                        .kernel = o.kernel,
                        .stride = o.stride,
                        .padding = o.padding,
                        .dilation = o.dilation,
                        .groups = o.groups,
                        .bias = o.bias,
                        .affine = norm.options().affine,
                        .eps = norm.options().eps,
                        .momentum = norm.options().momentum};
  if constexpr (std::is_same_v<Convolution, ConvTranspose2d>) {
    options.transposed = true;
    options.output_padding = o.output_padding;
  }
  auto fused = std::make_shared<ConvBN>(options,
                                        ConvBNTensors{.weight = conv.weight(),
                                                      .bias = conv.bias(),
                                                      .gamma = norm.gamma(),
                                                      .beta = norm.beta(),
                                                      .running_mean = norm.running_mean(),
                                                      .running_var = norm.running_var()},
                                        norm.num_batches_tracked());
  // A plain BatchNorm2d may be in Deploy, where it is what it is in Eval.
  fused->pin_mode(norm.mode() == Mode::deploy ? Mode::eval : norm.mode());
  if (!norm.pinned()) fused->unpin_mode();
  return fused;
}

// The ConvBN that two neighbours of a Sequential make, or null if they are not a pair.
std::shared_ptr<ConvBN> fuse_neighbours(const Module& first, const Module& second) {
  const auto* norm = dynamic_cast<const BatchNorm2d*>(&second);
  if (norm == nullptr) return nullptr;
  if (const auto* conv = dynamic_cast<const Conv2d*>(&first)) return fuse(*conv, *norm);
  if (const auto* conv = dynamic_cast<const ConvTranspose2d*>(&first)) return fuse(*conv, *norm);
  return nullptr;
}

}  // namespace

std::shared_ptr<ConvBN> fuse_conv_bn(const Conv2d& conv, const BatchNorm2d& norm) {
  return fuse(conv, norm);
}

std::shared_ptr<ConvBN> fuse_conv_bn(const ConvTranspose2d& conv, const BatchNorm2d& norm) {
  return fuse(conv, norm);
}

int fuse_conv_bn(Module& module) {
  struct Replacement {
    Sequential* sequential;
    std::size_t position;
    std::shared_ptr<ConvBN> fused;
  };
  // Found before anything is replaced, so that an error leaves the network as it was; replaced from
  // the back, so that positions stay valid.
  std::vector<Replacement> replacements;
  module.for_each_module([&](const std::string&, Module& part) {
    auto* sequential = dynamic_cast<Sequential*>(&part);
    if (sequential == nullptr) return;
    for (std::size_t i = 0; i + 1 < sequential->size(); ++i) {
      if (auto fused = fuse_neighbours(*(*sequential)[i], *(*sequential)[i + 1])) {
        replacements.push_back({sequential, i, std::move(fused)});
      }
    }
  });
  for (auto it = replacements.rbegin(); it != replacements.rend(); ++it) {
    it->sequential->replace_pair(it->position, std::move(it->fused));
  }
  return static_cast<int>(replacements.size());
}

}  // namespace attune
