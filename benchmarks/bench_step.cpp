// Times whole training steps or inference of a network in each mode. A step is forward,
// cross-entropy, backward and SGD with momentum.

#include <attune/core/autograd.h>
#include <attune/core/graph_report.h>
#include <attune/core/memory_stats.h>
#include <attune/core/ops/softmax_cross_entropy.h>
#include <attune/core/profile.h>
#include <attune/core/random.h>
#include <attune/core/saved_tensor.h>
#include <attune/core/step_graph.h>
#include <attune/kernels/conv_algorithm.h>
#include <attune/kernels/cpu_isa.h>
#include <attune/kernels/threads.h>
#include <attune/layers/models/make_model.h>
#include <attune/layers/predict.h>
#include <attune/optim/sgd.h>
#include <attune/version.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "support/device_options.h"

namespace attune::benchmarks {
namespace {

using examples::DeviceOptions;

struct Options {
  std::string net = "resnet20";
  std::int64_t batch = 128;
  std::int64_t size = 32;
  std::vector<std::string> modes{"train", "eval", "tune", "deploy"};
  std::string what = "step";
  std::string algorithm = "automatic";
  std::vector<std::string> recompute{"none"};
  DeviceOptions device;
  int threads = 0;
  int steps = 12;
  int rounds = 3;
  bool cuda_graph = false;
  bool keep_bf16 = false;
  bool json = false;
  bool profile = false;
};

/// A network in one mode, with what a step needs.
struct Contestant {
  Mode mode = Mode::train;
  Recompute recompute;
  std::shared_ptr<ImageClassifier> net;
  std::unique_ptr<Sgd> optimizer;
  std::unique_ptr<StepGraph> graph;  ///< with --cuda-graph: what is repeated
  std::vector<double> medians;       ///< milliseconds, of each round
  std::int64_t saved_bytes = 0, peak_bytes = 0;
  double page_faults = 0;  ///< a step, of the last round
  Profile profile;         ///< of all that was timed
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

/// Of this process so far, without those that had to read a file.
long page_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

Contestant make_contestant(const Options& options, Mode mode, const Recompute& recompute) {
  Contestant contestant;
  contestant.mode = mode;
  contestant.recompute = recompute;
  ModelVariant variant;
  if (options.size == 32) variant.stem = Stem::cifar;
  contestant.net = make_model(options.net, variant);
  if (mode == Mode::deploy) {
    contestant.net->deploy();
  } else {
    contestant.net->set_mode(mode);
  }
  contestant.net->set_recompute(recompute);
  contestant.optimizer =
      std::make_unique<Sgd>(contestant.net->parameters(), SgdOptions{.lr = 1e-3, .momentum = 0.9});
  return contestant;
}

/// Classes at random. All the same would soon be learned, and gradients too small for normalised
/// floats take a CPU many times as long.
Tensor random_targets(const Options& options, const ImageClassifier& net) {
  const Tensor uniform =
      random_uniform({options.batch}, 0, static_cast<double>(net.classes()), default_generator());
  std::vector<std::int64_t> targets;
  for (const float value : uniform.to_vector<float>()) {
    targets.push_back(static_cast<std::int64_t>(value));
  }
  return Tensor::from(targets, {options.batch});
}

void step(Contestant& c, const Tensor& x, const Tensor& targets) {
  c.optimizer->zero_grad();
  const Tensor loss = softmax_cross_entropy((*c.net)(x), targets);
  loss.backward();
  c.optimizer->step();
}

void infer(Contestant& c, const Tensor& x) {
  if (c.mode != Mode::train) {
    predict(*c.net, x);
    return;
  }
  const NoGradGuard no_grad;
  (*c.net)(x);
}

void measure_memory(Contestant& c, const Tensor& x, const Tensor& targets) {
  c.optimizer->zero_grad();
  const MemoryScope scope(x.device());
  const Tensor loss = softmax_cross_entropy((*c.net)(x), targets);
  c.saved_bytes = saved_bytes(loss, {x});
  loss.backward();
  c.peak_bytes = scope.peak_above_start();
}

void print(const Options& options, const Contestant& c) {
  const double ms = median(c.medians);
  const double images_per_second = 1e3 * static_cast<double>(options.batch) / ms;
  const bool is_step = options.what == "step";
  if (options.json) {
    nlohmann::ordered_json line{{"peer", fmt::format("attune {}", version)},
                                {"net", options.net},
                                {"batch", options.batch},
                                {"size", options.size},
                                {"device", to_string(options.device.device)},
                                {"precision", to_string(options.device.precision)},
                                {"what", options.what},
                                {"layout", "nhwc"},
                                {"isa", cpu_isa()},
                                {"compiler", ATTUNE_COMPILER},
                                {"algorithm", options.algorithm},
                                {"threads", num_threads()},
                                {"mode", to_string(c.mode)},
                                {"recompute", to_string(c.recompute)},
                                {"keep_bf16", options.keep_bf16},
                                {"ms", std::round(ms * 1e3) / 1e3},
                                {"images_per_s", std::round(images_per_second * 10) / 10},
                                {"page_faults", c.page_faults}};
    if (is_step) {
      line["saved_bytes"] = c.saved_bytes;
      line["peak_bytes_above_start"] = c.peak_bytes;
    }
    if (options.cuda_graph) line["cuda_graph"] = true;
    fmt::print("{}\n", line.dump());
  } else {
    fmt::print("{:7} {:9.3f} ms {:10.1f} images/s", to_string(c.mode), ms, images_per_second);
    if (options.recompute.size() > 1) fmt::print("  recompute {:18}", to_string(c.recompute));
    if (is_step)
      fmt::print("  saved {:>13L} bytes  peak {:>13L} bytes", c.saved_bytes, c.peak_bytes);
    fmt::print("  {:g} page faults\n", c.page_faults);
  }
}

void run(const Options& options) {
  if (options.threads > 0) set_num_threads(options.threads);
  set_conv_algorithm(parse_conv_algorithm(options.algorithm));
  manual_seed(0);
  const examples::DeviceScope device(options.device);
  const Bfloat16Saves rounding(options.keep_bf16);

  std::vector<Contestant> contestants;
  for (const std::string& mode : options.modes) {
    for (const std::string& recompute : options.recompute) {
      contestants.push_back(make_contestant(options, parse_mode(mode), parse_recompute(recompute)));
    }
  }
  const Tensor x =
      random_normal({options.batch, options.size, options.size, 3}, 0, 1, default_generator());
  const Tensor targets = random_targets(options, *contestants.front().net);
  const bool is_step = options.what == "step";
  const auto call = [&](Contestant& c) {
    if (is_step) {
      step(c, x, targets);
    } else {
      infer(c, x);
    }
  };
  for (Contestant& c : contestants) {
    if (!options.cuda_graph) continue;
    c.graph = std::make_unique<StepGraph>(x.device(), [&call, &c] { call(c); });
  }
  const auto once = [&](Contestant& c) {
    if (c.graph) {
      c.graph->run();
    } else {
      call(c);
    }
  };
  for (int round = 0; round < options.rounds; ++round) {
    for (Contestant& c : contestants) {
      for (int i = 0; i < 2; ++i) once(c);
      if (round == 0 && is_step) measure_memory(c, x, targets);
      std::vector<double> laps(static_cast<std::size_t>(options.steps));
      const long faults_before = page_faults();
      for (double& lap : laps) {
        std::optional<ProfileScope> recording;
        if (options.profile) recording.emplace(c.profile);
        const auto start = std::chrono::steady_clock::now();
        once(c);
        synchronize(x.device());
        const std::chrono::duration<double, std::milli> spent =
            std::chrono::steady_clock::now() - start;
        lap = spent.count();
      }
      c.page_faults = static_cast<double>(page_faults() - faults_before) / options.steps;
      c.medians.push_back(median(laps));
    }
  }
  const bool on_gpu = x.device().type == DeviceType::cuda;
  if (!options.json) {
    fmt::print("{}, {} of {} images of {} x {} ({}{})\n", options.net, options.what, options.batch,
               options.size, options.size, describe(options.device),
               options.cuda_graph && on_gpu ? ", recorded" : "");
  }
  for (const Contestant& c : contestants) print(options, c);
  if (!options.profile) return;
  for (const Contestant& c : contestants) {
    fmt::print("\n{}, recompute {}:\n{}", to_string(c.mode), to_string(c.recompute),
               to_string(c.profile, options.rounds * options.steps));
  }
}

int main_checked(int argc, char** argv) {
  Options options;
  CLI::App app{
      "Times training steps or inference of a network in the modes of convolution + batch norm."};
  const auto add = [&app](const char* name, auto& value, const char* help) {
    return app.add_option(name, value, help)->capture_default_str();
  };
  add("--net", options.net, "Network")->check(CLI::IsMember(model_names()));
  add("--batch", options.batch, "Images in a step")->check(CLI::PositiveNumber);
  add("--size", options.size, "Height and width; 32 takes the CIFAR stem")
      ->check(CLI::PositiveNumber);
  add("--modes", options.modes, "Any of train, eval, tune, deploy")
      ->delimiter(',')
      ->check(CLI::IsMember({"train", "eval", "tune", "deploy"}));
  add("--what", options.what, "step or inference")->check(CLI::IsMember({"step", "inference"}));
  add("--algorithm", options.algorithm, "Of the convolutions")
      ->check(CLI::IsMember({"automatic", "direct", "winograd"}));
  add("--recompute", options.recompute,
      "What backward computes again: none, activations, blocks or 'activations,blocks'; several, "
      "apart, are measured side by side")
      ->check([](const std::string& text) {
        try {
          parse_recompute(text);
          return std::string();
        } catch (const std::exception& error) {
          return std::string(error.what());
        }
      });
  examples::add_device_options(app, options.device, "Options");
  add("--threads", options.threads, "0: one a core")->check(CLI::NonNegativeNumber);
  add("--steps", options.steps, "Steps in a round")->check(CLI::PositiveNumber);
  add("--rounds", options.rounds, "Rounds, in each of which every mode has its turn")
      ->check(CLI::PositiveNumber);
  CLI::Option* graph = app.add_flag("--cuda-graph", options.cuda_graph,
                                    "Have a GPU record a step and repeat it as a whole");
  app.add_flag("--keep-bf16", options.keep_bf16, "Round what backward needs (Bfloat16Saves)");
  CLI::Option* json = app.add_flag("--json", options.json, "One JSON object a line for each mode");
  app.add_flag("--profile", options.profile, "Also print where the time goes, layer by layer")
      ->excludes(json)
      ->excludes(graph);
  CLI11_PARSE(app, argc, argv);
  run(options);
  return 0;
}

}  // namespace
}  // namespace attune::benchmarks

int main(int argc, char** argv) {
  try {
    return attune::benchmarks::main_checked(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_step: {}\n", error.what());
    return 1;
  }
}
