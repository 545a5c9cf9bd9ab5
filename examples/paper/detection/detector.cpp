#include "paper/detection/detector.h"

#include <attune/core/autograd.h>
#include <attune/core/ops/unary.h>
#include <attune/layers/init.h>

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace attune::examples {
namespace {

constexpr std::int64_t kChannels = 96;  // of the blocks
/// What every location says of every class at first: nearly all of them are background, and would
/// drown the others (Lin et al., arXiv 1708.02002, section 4.1).
constexpr double kPrior = 0.01;

ConvBNOptions block(std::int64_t in_channels, std::int64_t stride) {
  return {.in_channels = in_channels,
          .out_channels = kChannels,
          .stride = {stride, stride},
          .padding = {1, 1}};
}

std::int64_t channels_of(ImageClassifier& backbone) {
  const NoGradGuard no_grad;
  const Tensor x = Tensor::zeros({1, 32, 32, 3}, backbone.head().weight().dtype());
  return backbone.features(x).size(3);
}

}  // namespace

Detector::Detector(std::shared_ptr<ImageClassifier> backbone, std::int64_t classes,
                   Generator& generator)
    : backbone_(register_module("backbone", std::move(backbone))) {
  backbone_->set_mode(Mode::eval);  // looking at its features is not to change its statistics
  const std::int64_t channels = channels_of(*backbone_);
  first_ =
      register_conv_bn("conv1", "bn1", std::make_shared<ConvBN>(block(channels, 2), generator));
  second_ =
      register_conv_bn("conv2", "bn2", std::make_shared<ConvBN>(block(kChannels, 1), generator));
  predict_ = register_module(
      "predict",
      std::make_shared<Conv2d>(
          Conv2d::Options{.in_channels = kChannels, .out_channels = classes + 4, .kernel = {1, 1}},
          generator));
  Tensor weight = predict_->weight(), bias = predict_->bias();
  init::normal(weight, generator, 0, 0.01);
  std::vector<double> start(static_cast<std::size_t>(classes + 4), 0);
  std::fill_n(start.begin(), classes, -std::log((1 - kPrior) / kPrior));
  const NoGradGuard no_grad;
  bias.copy_(Tensor::from(start, bias.shape()));
  set_mode(Mode::eval);
}

Tensor Detector::forward(const Tensor& x) {
  const Tensor y = (*first_)(backbone_->features(x), {}, true);
  return (*predict_)((*second_)(y, {}, true));
}

Detections decode(const Tensor& output, std::int64_t side, const DetectOptions& options) {
  const std::int64_t rows = output.size(1), columns = output.size(2), channels = output.size(3);
  const std::int64_t classes = channels - 4;
  const double stride = static_cast<double>(side) / static_cast<double>(rows);
  const std::vector<double> values = output.to_vector<double>();
  const double* location = values.data();
  Detections found(static_cast<std::size_t>(output.size(0)));
  for (std::vector<Detection>& image : found) {
    for (std::int64_t p = 0; p < rows; ++p) {
      for (std::int64_t q = 0; q < columns; ++q, location += channels) {
        const auto edge = [&](std::int64_t middle, double direction, int which) {
          const double distance = std::exp(location[classes + which]);
          const double place = (static_cast<double>(middle) + 0.5 + direction * distance) * stride;
          return std::clamp(place, 0.0, static_cast<double>(side));
        };
        const Box box{edge(q, -1, 0), edge(p, -1, 1), edge(q, 1, 2), edge(p, 1, 3)};
        for (std::int64_t label = 0; label < classes; ++label) {
          const double score = 1 / (1 + std::exp(-location[label]));
          if (score >= options.least_score) image.push_back({box, label, score});
        }
      }
    }
    image = suppress_repeated(std::move(image), options.most_overlap);
  }
  return found;
}

}  // namespace attune::examples
