#include "attune/layers/predict.h"

#include <algorithm>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/device.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/concatenate.h"
#include "attune/core/ops/slice.h"
#include "attune/layers/batch_norm2d.h"
#include "attune/layers/conv_bn.h"
#include "attune/layers/dropout.h"

namespace attune {
namespace {

void check_images_are_apart(const Module& net) {
  net.for_each_module([](const std::string& name, const Module& layer) {
    const auto* const block = dynamic_cast<const ConvBN*>(&layer);
    const auto* const norm = dynamic_cast<const BatchNorm2d*>(&layer);
    if ((block && block->mode() == Mode::train) || (norm && norm->mode() == Mode::train)) {
      throw Error(format_text("predict: {} '{}' is in Mode::train, which normalises by the batch",
                              layer.type_name(), name));
    }
    if (dynamic_cast<const Dropout*>(&layer) && layer.training()) {
      throw Error(format_text("predict: Dropout '{}' drops; call train(false) before", name));
    }
  });
}

}  // namespace

Tensor predict(Module& net, const Tensor& x, std::int64_t images_at_a_time) {
  if (images_at_a_time < 1) {
    throw Error(format_text("predict: images_at_a_time is {}", images_at_a_time));
  }
  const NoGradGuard no_grad;
  if (x.device() != Device::cpu || x.rank() == 0 || x.size(0) <= images_at_a_time) return net(x);

  check_images_are_apart(net);
  const std::int64_t images = x.size(0);
  const std::int64_t parts = (images + images_at_a_time - 1) / images_at_a_time;
  std::vector<Tensor> outputs(static_cast<std::size_t>(parts));
  run_in_parallel(parts, [&](std::int64_t part) {
    const NoGradGuard no_grad_here;  // on this thread
    const std::int64_t first = part * images_at_a_time;
    const std::int64_t last = std::min(images, first + images_at_a_time);
    outputs[static_cast<std::size_t>(part)] = net(slice(x, 0, first, last));
  });
  return concatenate(outputs, 0);
}

}  // namespace attune
