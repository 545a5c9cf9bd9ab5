#pragma once

#include <attune/layers/mode.h>
#include <attune/layers/models/image_classifier.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

namespace attune::examples {

/// Makes a network on the device of the ConstructOn scope around.
using NetworkMaker = std::function<std::shared_ptr<ImageClassifier>()>;

inline constexpr std::array kModes{Mode::train, Mode::eval, Mode::tune, Mode::deploy};

/// What a step on `batch` images of side x side pixels keeps for the backward pass in each mode, in
/// the order of kModes: without parameters, buffers and the images, shared storage once. Found on
/// Device::meta, without arithmetic.
std::array<std::int64_t, kModes.size()> predict_saved_bytes(const NetworkMaker& make,
                                                            std::int64_t side, std::int64_t batch);

/// All filters that Tune folds, in bytes of float32.
std::int64_t folded_filter_bytes(const Module& net);

/// The published implementation of Tune leaves each folded filter to autograd, which keeps it until
/// backward. With `eval` and `tune` the bytes saved for one image, that saves less than Eval does
/// from this batch on: the smallest n with n tune + filters < n eval. Nothing if there is none.
std::optional<std::int64_t> published_break_even(std::int64_t eval, std::int64_t tune,
                                                 std::int64_t filters);

}  // namespace attune::examples
