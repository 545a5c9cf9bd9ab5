#pragma once

#include <attune/core/dtype.h>
#include <attune/core/graph_report.h>
#include <attune/layers/mode.h>
#include <attune/layers/models/image_classifier.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

// What a training step keeps in memory, found on Device::meta, without arithmetic.

namespace attune::examples {

/// Makes a network on the device of the ConstructOn scope around.
using NetworkMaker = std::function<std::shared_ptr<ImageClassifier>()>;

inline constexpr std::array kModes{Mode::train, Mode::eval, Mode::tune, Mode::deploy};
/// A number of bytes for each of kModes, in their order.
using ModeBytes = std::array<std::int64_t, kModes.size()>;
using ModeReports = std::array<GraphReport, kModes.size()>;

/// What a step on `batch` images of side x side pixels keeps for the backward pass, operation by
/// operation, in each of kModes: without parameters, buffers and the images, shared storage once.
ModeReports predict_reports(const NetworkMaker& make, std::int64_t side, std::int64_t batch,
                            DType dtype = DType::float32);

/// The totals.
ModeBytes predict_saved_bytes(const NetworkMaker& make, std::int64_t side, std::int64_t batch);

/// What one layer keeps.
struct LayerBytes {
  std::string name;  ///< "layer1.0.conv1"; an operation, "max_pool2d", if it is in none
  ModeBytes bytes;
};

/// The reports, layer by layer, in the order of the forward pass; layers that keep nothing in any
/// mode are left out. If they are more than `most`, those with the same first parts of their names
/// are taken together, "layer1.0", and "layer1" if need be: no further.
std::vector<LayerBytes> by_layer(const ModeReports& reports, std::size_t most);

/// All filters that Tune folds, in bytes of float32.
std::int64_t folded_filter_bytes(const Module& net);

/// The published implementation of Tune leaves each folded filter to autograd, which keeps it until
/// backward. With `eval` and `tune` the bytes saved for one image, that saves less than Eval does
/// from this batch on: the smallest n with n tune + filters < n eval. Nothing if there is none.
std::optional<std::int64_t> published_break_even(std::int64_t eval, std::int64_t tune,
                                                 std::int64_t filters);

}  // namespace attune::examples
