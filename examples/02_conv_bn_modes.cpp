// Lesson 2: one convolution + batch-norm block in its four modes (arXiv 2305.11624).
//
// The same block, with the same weights and statistics, computes the same input in Train, Eval,
// Tune and Deploy. The table shows what each mode keeps for backward, how long it takes, and how
// far its output and gradients are from Eval's.

#include <attune/core/graph_report.h>
#include <attune/core/random.h>
#include <attune/layers/conv_bn.h>
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "support/command_line.h"
#include "support/text_table.h"

using namespace attune;

namespace {

const ConvBNOptions kBlock{.in_channels = 32, .out_channels = 32, .padding = {1, 1}};
const Shape kImages{32, 32, 32, 32};  // [N, H, W, C]
constexpr int kRepetitions = 7;

/// What one mode gives: the output and the gradients, by name.
struct Outcome {
  std::map<std::string, std::vector<double>> values;
  std::int64_t saved_bytes = 0;
  double milliseconds = 0;
};

/// The weights of a block that has seen some data, and whose gamma and beta are not 1 and 0.
NamedTensors trained_block(Generator& generator) {
  ConvBN block(kBlock, generator);
  block.load_state_dict({{"bn.weight", random_uniform({32}, 0.2, 2, generator)},
                         {"bn.bias", random_normal({32}, 0, 1, generator)}},
                        /*strict=*/false);
  // In Train mode every call moves the running statistics towards those of its images.
  for (int i = 0; i < 20; ++i) block(random_normal(kImages, 0.4, 1.1, generator));
  return block.state_dict();
}

Outcome run(Mode mode, const NamedTensors& state, const Tensor& images, const Tensor& grad_output) {
  ConvBN block(kBlock);
  block.to(images.dtype());
  block.load_state_dict(state);
  if (mode == Mode::deploy) {
    block.deploy();
  } else {
    block.set_mode(mode);
  }
  Tensor x = images.detach().set_requires_grad();
  Outcome outcome;
  std::vector<double> times;
  for (int i = 0; i < kRepetitions; ++i) {
    x.zero_grad();
    block.zero_grad();
    const auto start = std::chrono::steady_clock::now();
    const Tensor z = block(x);
    outcome.saved_bytes = saved_bytes(z, {x});
    z.backward(grad_output);
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
    times.push_back(time.count());
    outcome.values["output"] = z.to_vector<double>();
  }
  outcome.milliseconds = examples::median(times);
  outcome.values["dx"] = x.grad().to_vector<double>();
  // Deploy's filter is the folded one, whatever its name.
  const std::string prefix = block.deployed() ? "d folded " : "d ";
  for (const auto& [name, parameter] : block.named_parameters()) {
    outcome.values[prefix + name] = parameter.grad().to_vector<double>();
  }
  return outcome;
}

/// The largest difference, relative to the largest value; "-" if the mode has no such gradient.
std::string difference(const Outcome& outcome, const Outcome& eval, const std::string& name) {
  const auto found = outcome.values.find(name);
  if (found == outcome.values.end()) return "-";
  const std::vector<double>& reference = eval.values.at(name);
  double largest = 0, scale = 0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const double error = std::abs(found->second[i] - reference[i]);
    if (std::isnan(error) || error > largest) largest = error;  // a NaN stays
    scale = std::max(scale, std::abs(reference[i]));
  }
  return fmt::format("{:.1e}", largest / scale);
}

void compare(DType dtype) {
  Generator generator{.seed = 1};
  const Tensor images = random_normal(kImages, 0.5, 1, generator);
  const NamedTensors state = trained_block(generator);
  const Tensor x = images.to(dtype);
  const Tensor grad_output = random_normal(kImages, 0, 1, generator).to(dtype);

  const Outcome eval = run(Mode::eval, state, x, grad_output);
  std::vector<std::vector<std::string>> rows;
  for (const Mode mode : {Mode::train, Mode::eval, Mode::tune, Mode::deploy}) {
    const Outcome outcome = run(mode, state, x, grad_output);
    std::vector<std::string> row = {to_string(mode), examples::mebibytes(outcome.saved_bytes),
                                    fmt::format("{:.1f}", outcome.milliseconds)};
    for (const char* name : {"output", "dx", "d conv.weight", "d bn.weight", "d bn.bias"}) {
      row.push_back(difference(outcome, eval, name));
    }
    rows.push_back(row);
  }
  fmt::print(
      "{}:\n\n{}\n", to_string(dtype),
      examples::text_table({"mode", "saved", "ms", "output", "dx", "dw", "dgamma", "dbeta"}, rows));
}

void lesson() {
  fmt::print(
      "A 3x3 convolution of 32 channels and its batch normalisation, x {}.\n"
      "saved: MiB kept for backward besides x; ms: forward and backward, median;\n"
      "then how far output and gradients are from Eval's, relative to the largest value.\n\n",
      to_string(kImages));
  compare(DType::float32);
  compare(DType::float64);
  fmt::print(
      "Eval keeps the convolution's output, for dgamma. Tune folds gamma and the statistics into\n"
      "the filter, keeps no output, and gets the same gradients up to rounding. Deploy computes\n"
      "the same output from a filter that was folded beforehand; its gradient is that filter's,\n"
      "and there is no gamma or beta. Train normalises with the statistics of the batch, which is\n"
      "another function.\n");
}

}  // namespace

int main(int argc, char** argv) {
  return examples::run_lesson(
      argc, argv, "Lesson 2: one convolution + batch-norm block in its four modes.", lesson);
}
