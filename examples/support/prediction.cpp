#include "support/prediction.h"

#include <attune/core/ops/softmax_cross_entropy.h>
#include <attune/core/tensor.h>
#include <attune/layers/construct_on.h>
#include <attune/layers/conv_bn.h>

#include <algorithm>

namespace attune::examples {
namespace {

/// The first `parts` parts of a layer's name: "layer1.0" of "layer1.0.conv1".
std::string shortened(const std::string& name, std::size_t parts) {
  std::size_t end = 0;
  for (std::size_t i = 0; i < parts && end != std::string::npos; ++i) {
    end = name.find('.', i == 0 ? 0 : end + 1);
  }
  return name.substr(0, end);
}

std::vector<LayerBytes> by_prefix(const ModeReports& reports, std::size_t parts) {
  std::vector<LayerBytes> layers;
  for (std::size_t mode = 0; mode < kModes.size(); ++mode) {
    for (const GraphReport::Entry& entry : reports[mode].entries) {
      if (entry.saved_bytes == 0) continue;
      const std::string name = entry.label.empty() ? entry.name : shortened(entry.label, parts);
      auto layer = std::find_if(layers.begin(), layers.end(),
                                [&](const LayerBytes& other) { return other.name == name; });
      if (layer == layers.end())
        layer = layers.insert(layer, LayerBytes{.name = name, .bytes = {}});
      layer->bytes[mode] += entry.saved_bytes;
    }
  }
  return layers;
}

}  // namespace

ModeReports predict_reports(const NetworkMaker& make, std::int64_t side, std::int64_t batch,
                            DType dtype) {
  ModeReports reports;
  for (std::size_t i = 0; i < kModes.size(); ++i) {
    const ConstructOn scope(Device::meta);
    const auto net = make();
    if (kModes[i] == Mode::deploy) {
      net->deploy();
    } else {
      net->set_mode(kModes[i]);
    }
    const Tensor images = Tensor::empty({batch, side, side, 3}, dtype, Device::meta);
    const Tensor targets = Tensor::empty({batch}, DType::int64, Device::meta);
    reports[i] = graph_report(softmax_cross_entropy((*net)(images), targets), {images});
  }
  return reports;
}

ModeBytes predict_saved_bytes(const NetworkMaker& make, std::int64_t side, std::int64_t batch) {
  ModeBytes bytes{};
  const ModeReports reports = predict_reports(make, side, batch);
  for (std::size_t i = 0; i < kModes.size(); ++i) bytes[i] = reports[i].saved_bytes;
  return bytes;
}

std::vector<LayerBytes> by_layer(const ModeReports& reports, std::size_t most) {
  std::size_t parts = 1;
  for (const GraphReport& report : reports) {
    for (const GraphReport::Entry& entry : report.entries) {
      const auto dots = std::count(entry.label.begin(), entry.label.end(), '.');
      parts = std::max(parts, static_cast<std::size_t>(dots) + 1);
    }
  }
  std::vector<LayerBytes> layers = by_prefix(reports, parts);
  while (layers.size() > most && parts > 1) layers = by_prefix(reports, --parts);
  return layers;
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
