#include "evaluate/evaluation.h"

#include <attune/core/error.h>
#include <attune/core/ops/softmax_cross_entropy.h>
#include <attune/layers/predict.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include "support/interrupt.h"
#include "support/text_table.h"

namespace attune::examples {
namespace {

constexpr std::int64_t kTop = 5;
constexpr std::size_t kMaxPairs = 10;

double share(std::int64_t part, std::int64_t whole) {
  return whole == 0 ? std::numeric_limits<double>::quiet_NaN()
                    : static_cast<double>(part) / static_cast<double>(whole);
}

/// How many logits are larger than that of `label`, or as large and before it.
std::int64_t rank_of(std::size_t label, const double* logits, std::size_t classes) {
  std::int64_t rank = 0;
  for (std::size_t i = 0; i < classes; ++i) {
    if (logits[i] > logits[label] || (logits[i] == logits[label] && i < label)) ++rank;
  }
  return rank;
}

void check_finite(const std::vector<double>& logits, const Dataset& images, const Batch& batch) {
  const auto bad = std::find_if_not(logits.begin(), logits.end(),
                                    [](double logit) { return std::isfinite(logit); });
  if (bad == logits.end()) return;
  const std::size_t classes = logits.size() / batch.indices.size();
  const auto image = static_cast<std::size_t>(bad - logits.begin()) / classes;
  throw Error(fmt::format("{}: the network's output is not finite",
                          images.sample_name(batch.indices[image])));
}

std::string matrix_text(const Evaluation& evaluation) {
  std::vector<std::string> header{"is \\ taken for"};
  header.insert(header.end(), evaluation.classes.begin(), evaluation.classes.end());
  std::vector<std::vector<std::string>> rows;
  for (std::size_t truth = 0; truth < evaluation.classes.size(); ++truth) {
    rows.push_back({evaluation.classes[truth]});
    for (const std::int64_t count : evaluation.confusion[truth]) {
      rows.back().push_back(std::to_string(count));
    }
  }
  return text_table(header, rows);
}

std::string pairs_text(const Evaluation& evaluation) {
  std::vector<std::tuple<std::int64_t, std::size_t, std::size_t>> pairs;
  for (std::size_t truth = 0; truth < evaluation.classes.size(); ++truth) {
    for (std::size_t other = 0; other < evaluation.classes.size(); ++other) {
      const std::int64_t count = evaluation.confusion[truth][other];
      if (other != truth && count > 0) pairs.emplace_back(count, truth, other);
    }
  }
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const auto& a, const auto& b) { return std::get<0>(a) > std::get<0>(b); });
  pairs.resize(std::min(pairs.size(), kMaxPairs));
  std::vector<std::vector<std::string>> rows;
  rows.reserve(pairs.size());
  for (const auto& [count, truth, other] : pairs) {
    rows.push_back({evaluation.classes[truth], evaluation.classes[other], std::to_string(count)});
  }
  return rows.empty() ? "no image is taken for another class\n"
                      : text_table({"is", "taken for", "images"}, rows);
}

}  // namespace

std::int64_t Evaluation::images() const {
  std::int64_t sum = 0;
  for (std::size_t label = 0; label < confusion.size(); ++label) sum += images_of(label);
  return sum;
}

std::int64_t Evaluation::right() const {
  std::int64_t sum = 0;
  for (std::size_t label = 0; label < confusion.size(); ++label) sum += confusion[label][label];
  return sum;
}

double Evaluation::top1() const { return share(right(), images()); }
double Evaluation::top5() const { return share(among_five, images()); }
double Evaluation::loss() const { return total_loss / static_cast<double>(images()); }

std::int64_t Evaluation::images_of(std::size_t label) const {
  std::int64_t sum = 0;
  for (const std::int64_t count : confusion[label]) sum += count;
  return sum;
}

double Evaluation::accuracy_of(std::size_t label) const {
  return share(confusion[label][label], images_of(label));
}

Evaluation evaluate(Module& net, const DataLoader& batches, const std::vector<std::string>& classes,
                    Progress& progress) {
  const std::size_t count = classes.size();
  Evaluation result{.classes = classes,
                    .confusion = std::vector(count, std::vector<std::int64_t>(count, 0))};
  for (const Batch& batch : batches.epoch(0)) {
    if (interrupted()) break;
    const Tensor output = predict(net, batch.images);
    if (output.size(1) != static_cast<std::int64_t>(count)) {
      throw Error(
          fmt::format("the network has {} classes, the images are of {}", output.size(1), count));
    }
    const std::vector<double> logits = output.to_vector<double>();
    check_finite(logits, batches.dataset(), batch);
    const auto labels = batch.targets.to_vector<std::int64_t>();
    for (std::size_t i = 0; i < labels.size(); ++i) {
      const double* const row = logits.data() + i * count;
      const auto truth = static_cast<std::size_t>(labels[i]);
      const auto taken_for = static_cast<std::size_t>(std::max_element(row, row + count) - row);
      ++result.confusion[truth][taken_for];
      if (rank_of(truth, row, count) < kTop) ++result.among_five;
    }
    result.total_loss +=
        softmax_cross_entropy(output, batch.targets).item() * static_cast<double>(batch.size());
    progress.advance(batch.size());
  }
  return result;
}

std::string to_text(const Evaluation& evaluation) {
  std::string text = fmt::format("{} images: top-1 {}, top-5 {}, loss {}\n\n", evaluation.images(),
                                 percent(evaluation.top1()), percent(evaluation.top5()),
                                 loss_text(evaluation.loss()));
  std::vector<std::vector<std::string>> rows;
  for (std::size_t label = 0; label < evaluation.classes.size(); ++label) {
    rows.push_back({evaluation.classes[label], std::to_string(evaluation.images_of(label)),
                    percent(evaluation.accuracy_of(label))});
  }
  text += text_table({"class", "images", "accuracy"}, rows) + "\n";
  return text + (evaluation.classes.size() > kMaxMatrix ? pairs_text(evaluation)
                                                        : matrix_text(evaluation));
}

nlohmann::json to_json(const Evaluation& evaluation) {
  nlohmann::json per_class = nlohmann::json::array();
  for (std::size_t label = 0; label < evaluation.classes.size(); ++label) {
    const double accuracy = evaluation.accuracy_of(label);
    per_class.push_back(
        {{"class", evaluation.classes[label]},
         {"images", evaluation.images_of(label)},
         {"accuracy", std::isnan(accuracy) ? nlohmann::json() : nlohmann::json(accuracy)}});
  }
  return {{"images", evaluation.images()}, {"top1", evaluation.top1()},
          {"top5", evaluation.top5()},     {"loss", evaluation.loss()},
          {"classes", per_class},          {"confusion", evaluation.confusion}};
}

}  // namespace attune::examples
