// Claim: fine-tuning ResNet-50 in Tune needs far less memory, and so fits larger batches.

#include <attune/core/memory_stats.h>
#include <attune/layers/construct_on.h>
#include <attune/layers/models/make_model.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdint>

#include "paper/claim.h"
#include "paper/lab.h"
#include "paper/rows.h"
#include "support/chart.h"
#include "support/prediction.h"
#include "support/training.h"

namespace attune::examples {
namespace {

constexpr std::int64_t kGibibyte = std::int64_t{1} << 30;

struct Size {
  std::string net;
  std::int64_t side, batch;
};

struct Step {
  MemoryUse use;
  std::int64_t weight_bytes = 0;  // of what is trained
};

/// Forward and backward of a network in a mode, on a device.
Step step(const Size& size, Mode mode, Device device) {
  const ConstructOn scope(device);
  const auto net = make_model(size.net);
  if (mode == Mode::deploy) {
    net->deploy();
  } else {
    net->set_mode(mode);
  }
  Batch batch;
  batch.images = Tensor::zeros({size.batch, size.side, size.side, 3}, DType::float32, device);
  batch.targets = Tensor::zeros({size.batch}, DType::int64, device);
  return {measure_memory(*net, batch), 4 * net->parameter_count()};
}

std::vector<Row> count_step(const Size& size) {
  std::vector<Row> rows;
  for (const Mode mode : kModes) {
    const MemoryUse use = step(size, mode, Device::meta).use;
    rows.push_back({{"mode", to_string(mode)},
                    {"saved_bytes", use.saved_bytes},
                    {"peak_bytes", use.peak_bytes}});
  }
  return rows;
}

/// All that training with momentum needs: weights, velocities, images, and the peak of a step
/// (which includes the gradients).
std::int64_t training_bytes(const Size& size, Mode mode) {
  const auto [use, weights] = step(size, mode, Device::meta);
  const std::int64_t images = 4 * size.batch * size.side * size.side * 3;
  return 2 * weights + images + use.peak_bytes;
}

std::vector<Row> largest_batches(const std::string& net, std::int64_t side, std::int64_t budget) {
  std::vector<Row> rows;
  for (const Mode mode : kModes) {
    std::int64_t fits = 0, too_large = 1;
    while (training_bytes({net, side, too_large}, mode) <= budget) {
      fits = too_large;
      too_large *= 2;
    }
    while (too_large - fits > 1) {
      const std::int64_t middle = (fits + too_large) / 2;
      (training_bytes({net, side, middle}, mode) <= budget ? fits : too_large) = middle;
    }
    rows.push_back({{"mode", to_string(mode)}, {"batch", fits}});
  }
  return rows;
}

/// The largest of some steps that half of the machine's memory holds in Train.
Size largest_real(const std::vector<Size>& sizes) {
  const std::int64_t memory = static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) *
                              static_cast<std::int64_t>(sysconf(_SC_PAGE_SIZE));
  for (const Size& size : sizes) {
    if (training_bytes(size, Mode::train) <= memory / 2) return size;
  }
  return sizes.back();
}

/// Counted, and real. Kernels' scratch exists only where there is arithmetic.
std::vector<Row> check_step(const Size& size) {
  const Device here = DefaultDevice::current();
  std::vector<Row> rows;
  for (const Mode mode : kModes) {
    const MemoryUse counted = step(size, mode, Device::meta).use;
    release_idle_memory(here);
    reset_peak_memory(here);
    const MemoryUse real = step(size, mode, here).use;
    rows.push_back({{"mode", to_string(mode)},
                    {"saved_bytes", counted.saved_bytes},
                    {"real_saved_bytes", real.saved_bytes},
                    {"peak_bytes", counted.peak_bytes},
                    {"real_peak_bytes", real.peak_bytes},
                    {"scratch_bytes", memory_stats(here)[MemoryPurpose::workspace].peak}});
  }
  release_idle_memory(here);
  return rows;
}

std::vector<Experiment> plan(Lab& lab) {
  std::vector<Experiment> experiments;
  const std::string net = "resnet50";
  for (const std::int64_t side : {224, 448}) {
    for (const std::int64_t batch : {48, 64}) {
      experiments.push_back(
          {{{"table", "step"}, {"net", net}, {"size", side}, {"batch", batch}}, [=] {
             return count_step({net, side, batch});
           }});
    }
  }
  for (const std::int64_t side : {224, 448}) {
    for (const std::int64_t gib : {8, 16, 24}) {
      experiments.push_back({{{"table", "budget"}, {"net", net}, {"size", side}, {"gib", gib}},
                             [=] { return largest_batches(net, side, gib * kGibibyte); }});
    }
  }
  const Size real = lab.quick() ? Size{net, 64, 2}
                                : largest_real({{net, 448, 64},
                                                {net, 448, 48},
                                                {net, 224, 64},
                                                {net, 224, 48},
                                                {net, 224, 16},
                                                {net, 224, 4}});
  experiments.push_back(
      {{{"table", "check"}, {"net", real.net}, {"size", real.side}, {"batch", real.batch}},
       [=] { return check_step(real); }});
  return experiments;
}

std::string gibibytes(double bytes) { return fmt::format("{:.2f}", bytes / kGibibyte); }

void report_steps(Report& report, const std::vector<Row>& rows) {
  Report::NamedTable table{
      "ResNet-50, GiB kept for backward, and the peak of forward and backward "
      "above weights and images:",
      {{"size", "batch", "", "Train", "Eval", "Tune", "Deploy", "Tune against Train",
        "against Eval"},
       {}}};
  BarChart chart{.y_title = "GiB, peak of a step", .label_digits = 1};
  for (const Mode mode : kModes) {
    chart.series.push_back({capitalized(to_string(mode)), {}, static_cast<int>(mode)});
  }
  Finding equal{"Tune keeps what Deploy keeps, byte for byte", true};
  for (const auto& [key, group] : group_by(rows, {"size", "batch"})) {
    for (const char* const field : {"saved_bytes", "peak_bytes"}) {
      std::vector<double> values;
      values.reserve(kModes.size());
      for (const Mode mode : kModes) {
        values.push_back(number(where(group, {{"mode", to_string(mode)}}).at(0), field));
      }
      table.table.rows.push_back({key["size"].dump(), key["batch"].dump(),
                                  std::string(field) == "saved_bytes" ? "kept" : "peak",
                                  gibibytes(values[0]), gibibytes(values[1]), gibibytes(values[2]),
                                  gibibytes(values[3]), saving(values[2], values[0]),
                                  saving(values[2], values[1])});
      if (std::string(field) == "saved_bytes") {
        equal.holds = equal.holds && values[2] == values[3];
        continue;
      }
      for (std::size_t i = 0; i < values.size(); ++i) {
        chart.series[i].values.push_back(values[i] / kGibibyte);
      }
    }
    chart.groups.push_back(fmt::format("{} px, batch {}", key["size"].dump(), key["batch"].dump()));
  }
  report.findings.push_back(equal);
  report.tables.push_back(table);
  report.figures.push_back({"Memory of a ResNet-50 step", to_svg(chart),
                            "Counted without arithmetic, above weights and images."});
}

void report_budgets(Report& report, const std::vector<Row>& rows) {
  Report::NamedTable table{
      "The largest batch of ResNet-50 that fits, with weights, gradients and "
      "momentum:",
      {{"size", "budget", "Train", "Eval", "Tune", "Deploy", "Tune / Eval"}, {}}};
  Finding twice{"Tune fits at least twice Eval's batch", true};
  for (const auto& [key, group] : group_by(rows, {"size", "gib"})) {
    std::vector<std::string> cells{key["size"].dump(), key["gib"].dump() + " GiB"};
    std::vector<double> batches;
    for (const Mode mode : kModes) {
      batches.push_back(number(where(group, {{"mode", to_string(mode)}}).at(0), "batch"));
      cells.push_back(fmt::format("{:.0f}", batches.back()));
    }
    cells.push_back(ratio_text(batches[2], batches[1]));
    table.table.rows.push_back(cells);
    twice.holds = twice.holds && batches[2] >= 2 * batches[1];
  }
  report.findings.push_back(twice);
  report.tables.push_back(table);
}

void report_checks(Report& report, const std::vector<Row>& rows) {
  const Row& first = rows.front();
  Report::NamedTable table{
      fmt::format("A real step beside the counted one, in bytes: {}, {} px, "
                  "batch {}:",
                  first["net"].get<std::string>(), first["size"].dump(), first["batch"].dump()),
      {{"mode", "kept, counted", "kept", "peak, counted", "peak", "scratch of kernels"}, {}}};
  Finding same{
      "a real step keeps the bytes that were counted, and its peak is the counted one, up "
      "to the kernels' scratch",
      true};
  for (const Row& row : rows) {
    std::vector<std::string> cells{row["mode"].get<std::string>()};
    for (const char* const field :
         {"saved_bytes", "real_saved_bytes", "peak_bytes", "real_peak_bytes", "scratch_bytes"}) {
      cells.push_back(with_thousands(number(row, field), 0));
    }
    table.table.rows.push_back(cells);
    const double above = number(row, "real_peak_bytes") - number(row, "peak_bytes");
    same.holds = same.holds && row["saved_bytes"] == row["real_saved_bytes"] && above >= 0 &&
                 above <= number(row, "scratch_bytes");
  }
  report.findings.push_back(same);
  report.tables.push_back(table);
}

Report make_report(const std::vector<Row>& rows) {
  Report report;
  const auto part = [&](const char* table) { return where(rows, {{"table", table}}); };
  if (const auto steps = part("step"); !steps.empty()) report_steps(report, steps);
  if (const auto budgets = part("budget"); !budgets.empty()) report_budgets(report, budgets);
  if (const auto checks = part("check"); !checks.empty()) report_checks(report, checks);
  return report;
}

}  // namespace

Claim memory_claim() {
  return {.name = "memory",
          .title = "Memory of ResNet-50",
          .published =
              "Train to Tune, ResNet-50 (table 3): 19.967 to 12.323 GB, −38.28 %. PyTorch's "
              "compiler pass, batch 64, 224 px, forward and backward (pytorch#108757): eager 5.18 "
              "to 2.88 GiB, −44 %. Both are whole processes or allocators, weights included.",
          .method =
              "Counted on Device::meta, and checked by a real step of the size that half of "
              "the machine's memory holds. What is kept is without weights and images; the "
              "peak, too, is above both.",
          .plan = plan,
          .report = make_report};
}

}  // namespace attune::examples
