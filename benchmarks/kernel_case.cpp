#include "kernel_case.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <utility>

namespace attune::benchmarks {
namespace {

/// The case whose turn it is. Google Benchmark calls a benchmark several times until it knows how
/// many iterations it needs; data and verification are those of the first call.
struct Current {
  std::string name;
  KernelCase kernel;
  double error = 0;
};

Current current;
bool failed = false;

void time_case(benchmark::State& state, const std::string& name,
               const std::function<KernelCase()>& make) {
  if (current.name != name) {
    current = {};  // gives its memory back first
    current.kernel = make();
    current.error = current.kernel.verify();
    current.name = name;
  }
  const KernelCase& kernel = current.kernel;
  if (!(current.error <= kernel.tolerance)) {
    failed = true;
    state.SkipWithError(fmt::format("differs from the reference by {:.2g}, tolerance {:.2g}",
                                    current.error, kernel.tolerance)
                            .c_str());
    return;
  }
  for ([[maybe_unused]] auto iteration : state) kernel.run();
  state.counters[kernel.unit] =
      benchmark::Counter(kernel.work, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["error"] = current.error;
  state.SetLabel(kernel.label);
}

}  // namespace

Floats floats(std::int64_t count) {
  const auto space = std::make_shared<kernels::Workspace<float>>(count);
  return {space, space->data()};
}

void fill_random(float* data, std::int64_t count, float low, float high) {
  static std::minstd_rand engine;  // every array gets other values
  constexpr auto kRange = static_cast<float>(std::minstd_rand::max());
  for (std::int64_t i = 0; i < count; ++i) {
    data[i] = low + (high - low) * (static_cast<float>(engine()) / kRange);
  }
}

Floats random_floats(std::int64_t count, float low, float high) {
  Floats result = floats(count);
  fill_random(result.get(), count, low, high);
  return result;
}

double relative_error(const float* result, const float* expected, std::int64_t count) {
  double error = 0, largest = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const double value = expected[i], difference = std::abs(result[i] - value);
    if (std::isnan(difference)) return std::numeric_limits<double>::quiet_NaN();
    error = std::max(error, difference);
    largest = std::max(largest, std::abs(value));
  }
  return error == 0 ? 0 : error / largest;
}

double worse(double error, double other) {
  return std::isnan(error) || error > other ? error : other;
}

KernelCase memory_bound_case(std::function<void()> run,
                             std::function<void(const std::vector<float*>&)> reference,
                             std::vector<Array> outputs, std::int64_t values) {
  const auto verify = [run, reference = std::move(reference), outputs = std::move(outputs)] {
    std::vector<Floats> copies;
    std::vector<float*> expected;
    for (const Array& output : outputs) {
      copies.push_back(floats(output.count));
      expected.push_back(copies.back().get());
      std::copy_n(output.data.get(), output.count, expected.back());
    }
    run();
    reference(expected);
    double error = 0;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      error = worse(error, relative_error(outputs[i].data.get(), expected[i], outputs[i].count));
    }
    return error;
  };
  KernelCase result{.run = std::move(run), .verify = verify};
  result.work = static_cast<double>(values) * sizeof(float) / 1e9;
  return result;
}

void add_case(const std::string& name, std::function<KernelCase()> make) {
  benchmark::RegisterBenchmark(
      name.c_str(),
      [name, make = std::move(make)](benchmark::State& state) { time_case(state, name, make); })
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
}

bool verification_failed() { return failed; }

}  // namespace attune::benchmarks
