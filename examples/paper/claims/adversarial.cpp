// Claim: adversarial images can be made in Tune: the same as in Eval, for less time.

#include <attune/core/autograd.h>
#include <attune/core/graph_report.h>
#include <attune/core/memory_stats.h>
#include <attune/core/ops/ops.h>
#include <attune/data/dataset.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>

#include "paper/claim.h"
#include "paper/lab.h"
#include "paper/rows.h"
#include "support/chart.h"
#include "support/interrupt.h"
#include "support/network.h"

namespace attune::examples {
namespace {

/// Steps along the sign of the gradient, within `radius` of the image in every pixel. One step is
/// FGSM (Goodfellow et al., arXiv 1412.6572), several are PGD without a random start (Madry et al.,
/// arXiv 1706.06083). Pixels are from 0 to 1, though the network's images are normalised.
struct Attack {
  std::string name;
  std::int64_t steps;
  double step;
  double radius = 8.0 / 255;
};

/// What one mode did.
struct Attempt {
  Mode mode;
  std::shared_ptr<ImageClassifier> net;
  std::vector<double> milliseconds = {};  ///< one a batch
  std::vector<float> images = {};         ///< the last batch's
  std::int64_t right = 0, fooled = 0, saved_bytes = 0, peak_bytes = 0;
};

/// x + step * sign(gradient), in pixels, back into the ball around `image` and into [0, 1].
void move(std::vector<float>& x, const std::vector<float>& image,
          const std::vector<float>& gradient, const Attack& attack,
          const ChannelStatistics& statistics) {
  const std::size_t channels = statistics.mean.size();
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t c = i % channels;
    const double mean = statistics.mean[c], deviation = statistics.deviation[c];
    const double pixel = image[i] * deviation + mean;
    const double sign = gradient[i] > 0 ? 1 : gradient[i] < 0 ? -1 : 0;
    const double moved = x[i] * deviation + mean + attack.step * sign;
    const double near = std::clamp(moved, pixel - attack.radius, pixel + attack.radius);
    x[i] = static_cast<float>((std::clamp(near, 0.0, 1.0) - mean) / deviation);
  }
}

std::vector<std::int64_t> named_classes(Module& net, const Tensor& images) {
  const NoGradGuard no_grad;
  return argmax(net(images), 1).to_vector<std::int64_t>();
}

void attack_batch(Attempt& attempt, const Batch& batch, const Attack& attack,
                  const ChannelStatistics& statistics) {
  const std::vector<float> original = batch.images.to_vector<float>();
  const std::vector<std::int64_t> targets = batch.targets.to_vector<std::int64_t>();
  const std::vector<std::int64_t> before = named_classes(*attempt.net, batch.images);
  attempt.images = original;
  const auto start = std::chrono::steady_clock::now();
  for (std::int64_t step = 0; step < attack.steps; ++step) {
    const Tensor x = Tensor::from(attempt.images, batch.images.shape()).set_requires_grad();
    const MemoryScope scope(x.device());
    const Tensor loss = softmax_cross_entropy((*attempt.net)(x), batch.targets);
    attempt.saved_bytes = saved_bytes(loss, {x});
    loss.backward();
    attempt.peak_bytes = scope.peak_above_start();
    move(attempt.images, original, x.grad().to_vector<float>(), attack, statistics);
  }
  const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - start;
  attempt.milliseconds.push_back(spent.count());
  const std::vector<std::int64_t> after =
      named_classes(*attempt.net, Tensor::from(attempt.images, batch.images.shape()));
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (before[i] != targets[i]) continue;
    ++attempt.right;
    attempt.fooled += after[i] != targets[i] ? 1 : 0;
  }
}

std::vector<Row> measure(Lab& lab, const Attack& attack, bool frozen, std::int64_t images,
                         std::uint64_t part) {
  RunOptions options = lab.run_options(part);
  options.init = lab.pretrained();
  options.replace_head = true;  // of the same classes: there is nothing to replace
  Task source = lab.transfer().source;
  const double share = static_cast<double>(images) / static_cast<double>(source.test->size());
  const auto first = static_cast<double>(part - 1);
  source.test = Subset::fraction(source.test, first * share, (first + 1) * share, 1);
  const DataLoader batches(source.test, source.test_transform, {.batch_size = 100});

  std::vector<Attempt> attempts;
  for (const Mode mode : {Mode::eval, Mode::tune}) {
    attempts.push_back({.mode = mode, .net = build_network(source, options).net});
    attempts.back().net->set_mode(mode);
    if (frozen) attempts.back().net->freeze();
  }
  double same = 0, values = 0, largest = 0;
  for (const Batch& batch : batches.epoch(0)) {
    if (interrupted()) break;
    for (Attempt& attempt : attempts) attack_batch(attempt, batch, attack, source.statistics);
    for (std::size_t i = 0; i < attempts[0].images.size(); ++i) {
      const double difference = std::abs(attempts[0].images[i] - attempts[1].images[i]);
      // Rounding may move a pixel by a bit; another sign moves it by a step.
      same += difference < 1e-5 ? 1 : 0;
      largest = std::max(largest, difference);
      values += 1;
    }
  }
  std::vector<Row> rows;
  rows.reserve(attempts.size());
  for (const Attempt& attempt : attempts) {
    rows.push_back(
        {{"mode", to_string(attempt.mode)},
         {"clean_accuracy", static_cast<double>(attempt.right) / static_cast<double>(images)},
         {"success", static_cast<double>(attempt.fooled) / static_cast<double>(attempt.right)},
         {"equal_pixels", same / values},
         {"ms", median(attempt.milliseconds)},
         {"saved_bytes", attempt.saved_bytes},
         {"peak_bytes", attempt.peak_bytes}});
  }
  return rows;
}

std::vector<Experiment> plan(Lab& lab) {
  const std::int64_t images = lab.quick() ? 100 : 500;
  std::vector<Experiment> experiments;
  for (const std::uint64_t part : lab.seeds()) {
    for (const Attack& attack : {Attack{"FGSM", 1, 8.0 / 255}, Attack{"PGD", 10, 2.0 / 255}}) {
      for (const bool frozen : {true, false}) {
        experiments.push_back({{{"network", lab.pretrained_name()},
                                {"attack", attack.name},
                                {"parameters", frozen ? "frozen" : "trainable"},
                                {"images", images},
                                {"part", part}},
                               [=, &lab] { return measure(lab, attack, frozen, images, part); }});
      }
    }
  }
  return experiments;
}

Report make_report(const std::vector<Row>& rows) {
  Report report;
  Report::NamedTable table{
      "Success: share of the images named right that no longer are (mean ± "
      "deviation over disjoint sets of images); equal: share of the pixel "
      "values that are the same in Eval and Tune:",
      {{"attack, parameters", "mode", "success", "equal", "time / Eval", "kept, MiB", "peak, MiB"},
       {}}};
  BarChart chart{.y_title = "per cent of the images fooled"};
  for (const char* const mode : {"eval", "tune"}) {
    chart.series.push_back({capitalized(mode), {}, color_of(mode)});
  }
  Finding same{
      "the attacks succeed equally often in Eval and Tune (within the deviation over sets, "
      "or a point)",
      true};
  Finding less{
      "Tune keeps less than Eval where parameters are trainable, and no more where they "
      "are frozen",
      true};
  for (const auto& [key, group] : group_by(rows, {"attack", "parameters"})) {
    const std::vector<Row> eval = where(group, {{"mode", "eval"}});
    const std::vector<Row> tune = where(group, {{"mode", "tune"}});
    const std::string name =
        key["attack"].get<std::string>() + ", " + key["parameters"].get<std::string>();
    for (const auto& runs : {eval, tune}) {
      table.table.rows.push_back({name, runs[0]["mode"].get<std::string>(),
                                  percent(spread(runs, "success")),
                                  fmt::format("{:.2f} %", 100 * spread(runs, "equal_pixels").mean),
                                  ratio_text(median(runs, "ms"), median(eval, "ms")),
                                  mebibytes(runs[0]["saved_bytes"].get<std::int64_t>()),
                                  mebibytes(runs[0]["peak_bytes"].get<std::int64_t>())});
    }
    chart.groups.push_back(name);
    chart.series[0].values.push_back(100 * spread(eval, "success").mean);
    chart.series[1].values.push_back(100 * spread(tune, "success").mean);
    const double eval_bytes = number(eval[0], "saved_bytes");
    const double tune_bytes = number(tune[0], "saved_bytes");
    same.holds = same.holds && agree(spread(eval, "success"), spread(tune, "success"), 0.01);
    less.holds = less.holds && (key["parameters"] == "frozen" ? tune_bytes <= eval_bytes
                                                              : tune_bytes < eval_bytes);
  }
  report.findings = {same, less};
  report.tables = {table};
  report.figures = {{"How often an attack succeeds", to_svg(chart),
                     "Of the test images that the network names right."}};
  return report;
}

}  // namespace

Claim adversarial_claim() {
  return {.name = "adversarial",
          .title = "Adversarial images",
          .published = "Tune gives the same adversarial images as Eval, in less time and memory.",
          .method =
              "FGSM (one step of 8/255) and PGD (ten steps of 2/255 within 8/255, no random "
              "start) on the pretrained network and its own test images, batches of 100. With "
              "frozen parameters only what the image's gradient needs is kept.",
          .plan = plan,
          .report = make_report};
}

}  // namespace attune::examples
