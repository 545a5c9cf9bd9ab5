// Claim: Tune costs what Deploy costs. One block, in the four modes and in Tune as it was
// published.

#include <attune/core/graph_report.h>
#include <attune/core/memory_stats.h>
#include <attune/core/ops/ops.h>
#include <attune/core/random.h>
#include <attune/layers/construct_on.h>
#include <attune/layers/conv_bn.h>
#include <attune/layers/models/make_model.h>
#include <fmt/format.h>

#include <array>
#include <chrono>
#include <functional>
#include <memory>

#include "paper/claim.h"
#include "paper/lab.h"
#include "paper/rows.h"
#include "support/chart.h"
#include "support/prediction.h"

namespace attune::examples {
namespace {

constexpr const char* kPublishedTune = "published Tune";
constexpr std::array kModeNames{"train", "eval", kPublishedTune, "tune", "deploy"};

/// Tune as it was published: the fold is made of operations that autograd records, so w' is kept
/// until backward.
Tensor published_tune(const ConvBN& block, const Tensor& x) {
  const Tensor scale = block.gamma() * pow(block.running_var() + block.options().eps, -0.5);
  const Tensor weight = block.weight() * reshape(scale, {scale.count(), 1, 1, 1});
  const Tensor bias = block.beta() - block.running_mean() * scale;
  return conv2d(x, weight, bias, {.padding = block.options().padding});
}

/// A 3x3 convolution, from `channels` to as many, in one way of computing it.
struct Contender {
  std::string mode;
  std::shared_ptr<ConvBN> block;
  std::vector<double> forward, backward;  // milliseconds
  std::int64_t saved = 0, peak = 0;

  Contender(std::string name, std::int64_t channels) : mode(std::move(name)) {
    Generator generator{.seed = 1};
    block = std::make_shared<ConvBN>(
        ConvBNOptions{.in_channels = channels, .out_channels = channels, .padding = {1, 1}},
        generator);
    if (mode == "deploy") {
      block->deploy();
    } else if (mode != kPublishedTune) {
      block->set_mode(parse_mode(mode));
    }
  }
  Tensor operator()(const Tensor& x) const {
    return mode == kPublishedTune ? published_tune(*block, x) : (*block)(x);
  }
};

std::vector<Contender> contenders(std::int64_t channels) {
  std::vector<Contender> all;
  all.reserve(kModeNames.size());
  for (const char* const mode : kModeNames) all.emplace_back(mode, channels);
  return all;
}

double milliseconds(Device device, const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  synchronize(device);
  const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - start;
  return spent.count();
}

/// x, as one in the middle of a network: its gradient is wanted, and it is kept by its own layer.
void run(Contender& contender, Tensor x, const Tensor& grad) {
  x.zero_grad();
  contender.block->zero_grad();
  const MemoryScope scope(x.device());
  Tensor z;
  contender.forward.push_back(milliseconds(x.device(), [&] { z = contender(x); }));
  contender.saved = saved_bytes(z, {x});
  contender.backward.push_back(milliseconds(x.device(), [&] { z.backward(grad); }));
  contender.peak = scope.peak_above_start();
}

std::vector<Row> measure_block(std::int64_t channels, std::int64_t size, std::int64_t batch,
                               int rounds) {
  Generator generator{.seed = 2};
  const Shape shape{batch, size, size, channels};
  const Tensor x = random_normal(shape, 0, 1, generator).set_requires_grad();
  const Tensor grad = random_normal(shape, 0, 1, generator);
  std::vector<Contender> all = contenders(channels);
  for (Contender& contender : all) {  // reserves memory, fills caches
    run(contender, x, grad);
    contender.forward.clear();
    contender.backward.clear();
  }
  for (int round = 0; round < rounds; ++round) {
    for (Contender& contender : all) run(contender, x, grad);
  }
  std::vector<Row> rows;
  rows.reserve(all.size());
  for (const Contender& contender : all) {
    rows.push_back({{"mode", contender.mode},
                    {"forward_ms", median(contender.forward)},
                    {"backward_ms", median(contender.backward)},
                    {"saved_bytes", contender.saved},
                    {"peak_bytes", contender.peak}});
  }
  return rows;
}

/// What a contender keeps besides x, on Device::meta.
std::int64_t counted_bytes(const std::string& mode, std::int64_t channels, std::int64_t size,
                           std::int64_t batch) {
  const ConstructOn scope(Device::meta);
  const Contender contender(mode, channels);
  const Tensor x = Tensor::empty({batch, size, size, channels}, DType::float32, Device::meta)
                       .set_requires_grad();
  return saved_bytes(contender(x), {x});
}

/// Eval keeps the output, batch * size^2 * K floats; published Tune keeps w', K * 9 * C of them,
/// and some vectors.
std::vector<Row> break_even(std::int64_t channels, std::int64_t size) {
  const std::int64_t formula = 9 * channels / (size * size) + 1;
  std::int64_t batch = 1;
  while (counted_bytes(kPublishedTune, channels, size, batch) >=
         counted_bytes("eval", channels, size, batch)) {
    ++batch;
  }
  return {{{"formula", formula}, {"counted", batch}}};
}

std::vector<Row> network_break_even(const std::string& net, const ModelVariant& variant,
                                    std::int64_t side) {
  const NetworkMaker make = [&] { return make_model(net, variant); };
  const auto saved = predict_saved_bytes(make, side, 1);
  const ConstructOn scope(Device::meta);
  const std::int64_t filters = folded_filter_bytes(*make());
  const std::int64_t eval = saved[1], tune = saved[2];
  return {{{"eval_bytes", eval},
           {"published_tune_bytes", tune + filters},
           {"tune_bytes", tune},
           {"counted", published_break_even(eval, tune, filters).value_or(0)}}};
}

std::vector<Experiment> plan(Lab& lab) {
  const int rounds = lab.quick() ? 3 : 9;
  const std::vector<std::int64_t> batches =
      lab.quick() ? std::vector<std::int64_t>{1, 8} : std::vector<std::int64_t>{1, 4, 16, 64};
  std::vector<Experiment> experiments;
  const std::vector<std::pair<std::int64_t, std::int64_t>> blocks{
      {16, 32}, {64, 32}, {128, 16}, {256, 8}, {512, 4}};  // channels, size
  for (const auto& [channels, size] : blocks) {
    for (const std::int64_t batch : batches) {
      experiments.push_back(
          {{{"table", "block"}, {"channels", channels}, {"size", size}, {"batch", batch}},
           [=, c = channels, s = size] { return measure_block(c, s, batch, rounds); }});
    }
  }
  for (const auto& [channels, size] : blocks) {
    experiments.push_back({{{"table", "break-even"}, {"channels", channels}, {"size", size}},
                           [c = channels, s = size] { return break_even(c, s); }});
  }
  struct Network {
    const char* name;
    Stem stem;
    std::int64_t side;
  };
  for (const Network net : {Network{"resnet20", Stem::cifar, 32},
                            {"resnet18", Stem::cifar, 32},
                            {"resnet18", Stem::imagenet, 224},
                            {"resnet50", Stem::imagenet, 224}}) {
    experiments.push_back({{{"table", "network"}, {"net", net.name}, {"size", net.side}}, [=] {
                             return network_break_even(net.name, {.stem = net.stem}, net.side);
                           }});
  }
  return experiments;
}

double time_of(const Row& row) { return number(row, "forward_ms") + number(row, "backward_ms"); }

/// One group of bars for each block at this batch.
Report::Figure time_figure(const std::vector<Row>& rows, const Row& batch) {
  BarChart chart{
      .y_title = "time / Eval's", .label_digits = -1, .x_title = "channels × height × width"};
  for (const char* const mode : kModeNames) {
    chart.series.push_back({capitalized(mode), {}, color_of(mode)});
  }
  for (const auto& [key, group] : group_by(where(rows, {{"batch", batch}}), {"channels", "size"})) {
    chart.groups.push_back(
        fmt::format("{0} × {1} × {1}", key["channels"].dump(), key["size"].dump()));
    const double eval = time_of(where(group, {{"mode", "eval"}}).at(0));
    for (std::size_t i = 0; i < kModeNames.size(); ++i) {
      const double time = time_of(where(group, {{"mode", kModeNames[i]}}).at(0));
      chart.series[i].values.push_back(time / eval);
    }
  }
  return {"Time of a block, batch " + batch.dump(), to_svg(chart),
          "Forward and backward, relative to Eval. The fold costs a few passes over the filter, "
          "which matters where there are more weights than pixels."};
}

void report_blocks(Report& report, const std::vector<Row>& rows) {
  Report::NamedTable bytes{
      "KiB kept for backward by one 3x3 block, besides its input; in parentheses the peak of "
      "forward and backward:",
      {{"channels", "size", "batch", "Train", "Eval", "published Tune", "Tune", "Deploy"}, {}}};
  Report::NamedTable times{
      "Time of forward and of backward, relative to Eval's (medians of interleaved rounds):",
      {{"channels", "size", "batch", "Eval, ms", "Train", "published Tune", "Tune", "Deploy"}, {}}};
  Finding equal{"Tune keeps what Deploy keeps, byte for byte, in every block", true};
  const std::vector<Group> groups = group_by(rows, {"channels", "size", "batch"});
  for (const auto& [key, group] : groups) {
    const auto of = [&, &group = group](const char* mode) {
      return where(group, {{"mode", mode}}).at(0);
    };
    const Row eval = of("eval");
    std::vector<std::string> byte_cells;
    for (const auto& [field, value] : key.items()) byte_cells.push_back(value.dump());
    std::vector<std::string> time_cells = byte_cells;
    time_cells.push_back(
        fmt::format("{:.2f}, {:.2f}", number(eval, "forward_ms"), number(eval, "backward_ms")));
    for (const char* const mode : kModeNames) {
      const Row row = of(mode);
      byte_cells.push_back(fmt::format("{:.0f} ({:.0f})", number(row, "saved_bytes") / 1024,
                                       number(row, "peak_bytes") / 1024));
      if (row == eval) continue;
      time_cells.push_back(ratio_text(number(row, "forward_ms"), number(eval, "forward_ms")) +
                           ", " +
                           ratio_text(number(row, "backward_ms"), number(eval, "backward_ms")));
    }
    bytes.table.rows.push_back(byte_cells);
    times.table.rows.push_back(time_cells);
    equal.holds = equal.holds && of("tune")["saved_bytes"] == of("deploy")["saved_bytes"];
  }
  report.findings.push_back(equal);
  report.tables.push_back(bytes);
  report.tables.push_back(times);
  for (const auto& [key, group] : group_by(rows, {"batch"})) {
    const Row batch = key["batch"];
    if (batch == groups.front().key["batch"] || batch == groups.back().key["batch"]) {
      report.figures.push_back(time_figure(rows, batch));
    }
  }
}

Report make_report(const std::vector<Row>& rows) {
  Report report;
  const std::vector<Row> blocks = where(rows, {{"table", "block"}});
  if (!blocks.empty()) report_blocks(report, blocks);

  Report::NamedTable even{
      "The batch from which published Tune keeps less than Eval: by the "
      "formula 9 C / size² (rounded down, plus one), and counted:",
      {{"channels", "size", "formula", "counted"}, {}}};
  Finding predicted{"the formula predicts the break-even batch to within one image", true};
  for (const Row& row : where(rows, {{"table", "break-even"}})) {
    even.table.rows.push_back(
        {row["channels"].dump(), row["size"].dump(), row["formula"].dump(), row["counted"].dump()});
    const double difference = number(row, "counted") - number(row, "formula");
    predicted.holds = predicted.holds && difference >= -1 && difference <= 1;
  }
  Report::NamedTable networks{
      "Whole networks, one image: MiB kept for backward, and from which "
      "batch published Tune keeps less than Eval. Ours always does:",
      {{"network", "size", "Eval", "published Tune", "Tune", "break-even of published Tune"}, {}}};
  for (const Row& row : where(rows, {{"table", "network"}})) {
    std::vector<std::string> cells{row["net"].get<std::string>(), row["size"].dump()};
    for (const char* const field : {"eval_bytes", "published_tune_bytes", "tune_bytes"}) {
      cells.push_back(mebibytes(row[field].get<std::int64_t>()));
    }
    cells.push_back(row["counted"].dump());
    networks.table.rows.push_back(cells);
  }
  if (!even.table.rows.empty()) {
    report.findings.push_back(predicted);
    report.tables.push_back(even);
  }
  if (!networks.table.rows.empty()) report.tables.push_back(networks);
  return report;
}

}  // namespace

Claim cost_claim() {
  return {.name = "cost",
          .title = "What one block costs",
          .published =
              "Tune has the time and memory of Deploy, up to the fold. The "
              "published code keeps the folded filter w' until backward.",
          .method =
              "One 3x3 convolution with its normalisation, as many channels out as in, x "
              "wanting a gradient. Published Tune is composed of operations that autograd "
              "records; our Tune folds again in backward.",
          .plan = plan,
          .report = make_report};
}

}  // namespace attune::examples
