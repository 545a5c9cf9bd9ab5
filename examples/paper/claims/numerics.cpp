// Claim: Tune computes what Eval computes. How nearly, layer by layer.

#include <attune/core/device.h>
#include <attune/core/ops/softmax_cross_entropy.h>
#include <attune/kernels/conv_algorithm.h>
#include <attune/kernels/cuda_precision.h>
#include <attune/layers/conv_bn.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "paper/claim.h"
#include "paper/lab.h"
#include "paper/rows.h"
#include "support/chart.h"
#include "support/network.h"

namespace attune::examples {
namespace {

/// Of each ConvBN, in the order of forward: its name, output and filter's gradient.
struct Layer {
  std::string name;
  std::vector<double> output, gradient;
};

std::vector<Layer> run(Module& net, Mode mode, const Batch& batch) {
  net.set_mode(mode);
  net.zero_grad();
  std::vector<Layer> layers;
  std::vector<const ConvBN*> blocks;
  Tensor loss;
  {
    const CallObserver observer([&](Module& module, const Tensor&, const Tensor& output) {
      const auto* const block = dynamic_cast<const ConvBN*>(&module);
      if (block == nullptr) return;
      blocks.push_back(block);
      layers.push_back({module.path(), output.to_vector<double>(), {}});
    });
    loss = softmax_cross_entropy(net(batch.images), batch.targets);
  }
  loss.backward();
  for (std::size_t i = 0; i < layers.size(); ++i) {
    layers[i].gradient = blocks[i]->weight().grad().to_vector<double>();
  }
  return layers;
}

/// The largest difference, relative to the largest value.
double difference(const std::vector<double>& values, const std::vector<double>& reference) {
  double largest = 0, scale = 0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const double error = std::abs(values[i] - reference[i]);
    if (std::isnan(error) || error > largest) largest = error;  // a NaN stays
    scale = std::max(scale, std::abs(reference[i]));
  }
  return largest / scale;
}

/// How many outputs are positive in one and not in the other: inputs of the ReLU so close to zero
/// that rounding moves them to the other side. Each changes the gradient by a whole term.
std::int64_t flips(const std::vector<double>& a, const std::vector<double>& b) {
  std::int64_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) count += (a[i] > 0) != (b[i] > 0) ? 1 : 0;
  return count;
}

std::shared_ptr<ImageClassifier> load(Lab& lab, bool use_double) {
  RunOptions options = lab.run_options(1);
  options.init = lab.pretrained();
  options.use_double = use_double;
  options.replace_head = true;
  return build_network(lab.transfer().source, options).net;
}

Batch images(Lab& lab, bool use_double) {
  RunOptions options = lab.run_options(1);
  options.use_double = use_double;
  options.batch_size = 32;
  return *training_batches(lab.transfer().source, options).epoch(0).next();
}

/// One way to compute: how numbers are stored, and how convolutions multiply them.
struct Path {
  const char* name;
  bool use_double = false;
  ConvAlgorithm algorithm = ConvAlgorithm::automatic;  // of the CPU
  CudaPrecision precision = CudaPrecision::fp32;       // of a GPU
};

std::vector<Row> measure(Lab& lab, const Path& path) {
  const auto exact_net = load(lab, true);
  const std::vector<Layer> exact = run(*exact_net, Mode::eval, images(lab, true));
  const auto net = load(lab, path.use_double);
  const Batch batch = images(lab, path.use_double);
  set_conv_algorithm(path.algorithm);
  set_cuda_precision(path.precision);
  const std::vector<Layer> eval = run(*net, Mode::eval, batch), tune = run(*net, Mode::tune, batch);
  set_conv_algorithm(ConvAlgorithm::automatic);
  set_cuda_precision(CudaPrecision::fp32);
  std::vector<Row> rows;
  for (std::size_t i = 0; i < eval.size(); ++i) {
    rows.push_back({{"depth", i + 1},
                    {"layer", eval[i].name},
                    {"output", difference(tune[i].output, eval[i].output)},
                    {"gradient", difference(tune[i].gradient, eval[i].gradient)},
                    {"flips", flips(tune[i].output, eval[i].output)},
                    {"outputs", eval[i].output.size()},
                    {"tune_output_error", difference(tune[i].output, exact[i].output)},
                    {"eval_output_error", difference(eval[i].output, exact[i].output)},
                    {"tune_gradient_error", difference(tune[i].gradient, exact[i].gradient)},
                    {"eval_gradient_error", difference(eval[i].gradient, exact[i].gradient)}});
  }
  return rows;
}

std::vector<Experiment> plan(Lab& lab) {
  const Path exact{.name = "double", .use_double = true};
  const std::vector<Path> cpu{exact,
                              {.name = "float, direct", .algorithm = ConvAlgorithm::direct},
                              {.name = "float, Winograd", .algorithm = ConvAlgorithm::winograd}};
  const std::vector<Path> gpu{exact,
                              {.name = "float"},
                              {.name = "tf32", .precision = CudaPrecision::tf32},
                              {.name = "bf16", .precision = CudaPrecision::bf16}};
  std::vector<Experiment> experiments;
  for (const Path& path : DefaultDevice::current() == Device::cpu ? cpu : gpu) {
    experiments.push_back({{{"network", lab.pretrained_name()}, {"path", path.name}},
                           [path, &lab] { return measure(lab, path); }});
  }
  return experiments;
}

Report make_report(const std::vector<Row>& rows) {
  Report report;
  Report::NamedTable table{
      "Tune − Eval: the largest difference in any layer, relative to the layer's largest value. "
      "Flips: outputs that are positive in one mode and zero in the other, each of which changes "
      "gradients by a whole term. Then how far the outputs of each mode are from Eval's in double:",
      {{"path", "outputs", "filters' gradients", "flips", "Eval − double", "Tune − double"}, {}}};
  LineChart chart{.x_axis = {.title = "layer", .whole = true},
                  .y_axis = {"output, Tune against Eval", Scale::logarithmic}};
  Finding exact{"in double, Tune's outputs and gradients are Eval's to 1e-12", true};
  Finding near{"in lower precision, Tune is at most twice as far from double as Eval is", true};
  for (const auto& [key, layers] : group_by(rows, {"path"})) {
    std::vector<std::string> cells{key["path"].get<std::string>()};
    for (const char* const field : {"output", "gradient"}) {
      cells.push_back(scientific(largest(layers, field)));
    }
    double flipped = 0, outputs = 0;
    for (const Row& layer : layers) {
      flipped += number(layer, "flips");
      outputs += number(layer, "outputs");
    }
    cells.push_back(
        fmt::format("{} of {}", with_thousands(flipped, 0), with_thousands(outputs, 0)));
    for (const char* const field : {"eval_output_error", "tune_output_error"}) {
      cells.push_back(scientific(largest(layers, field)));
    }
    table.table.rows.push_back(cells);
    LineSeries series{.name = cells[0], .color = static_cast<int>(chart.series.size())};
    for (const Row& layer : layers) {
      series.x.push_back(number(layer, "depth"));
      series.y.push_back(number(layer, "output"));
    }
    chart.series.push_back(series);
    if (key["path"] == "double") {
      exact.holds =
          exact.holds && largest(layers, "output") <= 1e-12 && largest(layers, "gradient") <= 1e-12;
    } else {
      near.holds = near.holds &&
                   largest(layers, "tune_output_error") <= 2 * largest(layers, "eval_output_error");
    }
  }
  report.findings = {exact, near};
  report.tables = {table};
  report.figures = {{"How rounding grows with depth", to_svg(chart),
                     "Each point is one convolution with its normalisation and ReLU, in the order "
                     "of the forward pass. A layer whose outputs are equal to the last bit cannot "
                     "be shown on this scale."}};
  return report;
}

}  // namespace

Claim numerics_claim() {
  return {.name = "numerics",
          .title = "How equal Tune and Eval are",
          .published =
              "Eval and Tune are equal, forward and backward, in exact arithmetic. PyTorch's "
              "compiler pass is off by default because results "
              "differ in the last digits (pytorch#121054).",
          .method =
              "The pretrained network, one batch of 32 images, forward and backward, by the "
              "direct and by Winograd's convolution.",
          .plan = plan,
          .report = make_report};
}

}  // namespace attune::examples
