#pragma once

namespace attune::kernels {

/// A number that is another one in each training step: the learning rate, the number of a random
/// stream. A kernel of a step that a GPU repeats by itself (attune/core/step_graph.h) keeps the
/// arguments it was launched with; such a number it reads from the GPU's memory instead, where the
/// host has put the present one.
template <typename T>
struct StepValue {
  T value{};
  const T* on_device = nullptr;

  constexpr StepValue() = default;
  constexpr StepValue(T number, const T* where = nullptr) : value(number), on_device(where) {}

  /// For kernels: the present number.
  constexpr T get() const { return on_device != nullptr ? *on_device : value; }
};

}  // namespace attune::kernels
