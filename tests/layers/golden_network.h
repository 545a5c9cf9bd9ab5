#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "attune/core/ops/softmax_cross_entropy.h"
#include "attune/layers/module.h"
#include "tests/catch.h"
#include "tests/golden.h"

namespace attune::test {

/// The state of a network in a golden file.
inline NamedTensors golden_state(const Json& golden, DType dtype) {
  NamedTensors state;
  for (const auto& [name, stored] : golden.at("state").items()) {
    state.emplace_back(name, golden_tensor(stored, dtype));
  }
  return state;
}

/// golden_error(), but where the golden gradient is 0 but for rounding (in Train: that of what is
/// added to the input of a normalisation, which subtracts the mean) by how much this one is not.
inline double golden_gradient_error(const Tensor& actual, const Json& stored) {
  const std::vector<double> expected = stored.at("data").get<std::vector<double>>();
  const bool zero = std::all_of(expected.begin(), expected.end(),
                                [](double value) { return std::abs(value) < 1e-14; });
  if (!zero || !actual.defined()) return golden_error(actual, stored);
  double largest = 0;
  for (const double value : actual.to_vector<double>()) {
    largest = std::max(largest, std::abs(value));
  }
  return largest;
}

/// Checks output, loss, every gradient and every buffer of one forward and backward pass in `mode`
/// against the golden file. The network is new, and has not been used. The file stores Eval and
/// Tune once: they are the same function, which the script that writes it has checked.
inline void check_golden_mode(Module& net, const Json& golden, Mode mode, DType dtype) {
  net.to(dtype);
  net.load_state_dict(golden_state(golden, dtype));
  if (mode == Mode::deploy) {
    net.deploy();
  } else {
    net.set_mode(mode);
  }
  const std::string stored = mode == Mode::tune ? "eval" : to_string(mode);
  const Json& expected = golden.at("modes").at(stored);
  const double tolerance = golden_tolerance(dtype);

  const Tensor x = golden_leaf(golden.at("tensors"), "x", dtype);
  const Tensor targets = golden_tensor(golden.at("tensors").at("targets")).to(DType::int64);
  const Tensor logits = net(x);
  const Tensor loss = softmax_cross_entropy(logits, targets);
  CHECK(golden_error(logits, expected.at("logits")) <= tolerance);
  CHECK(golden_error(loss, expected.at("loss")) <= tolerance);

  loss.backward();
  CHECK(golden_error(x.grad(), expected.at("grad_x")) <= tolerance);
  std::size_t gradients = 1;  // that of x
  for (const auto& [name, parameter] : net.named_parameters()) {
    INFO(name);
    CHECK(golden_gradient_error(parameter.grad(), expected.at("grad_" + name)) <= tolerance);
    ++gradients;
  }
  std::size_t expected_gradients = 0;
  for (const auto& [name, tensor] : expected.items()) {
    expected_gradients += name.starts_with("grad_") ? 1 : 0;
  }
  CHECK(gradients == expected_gradients);

  if (mode == Mode::deploy) return;
  for (const auto& [name, buffer] : net.named_buffers()) {
    INFO(name);
    const Json& after =
        mode == Mode::train ? expected.at("new_" + name) : golden.at("state").at(name);
    CHECK(golden_error(buffer, after) <= tolerance);
  }
}

}  // namespace attune::test
