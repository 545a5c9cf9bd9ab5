#pragma once

#include <attune/kernels/memory.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace attune::benchmarks {

/// An array as tensors have it, aligned and from the library's own memory.
using Floats = std::shared_ptr<float>;

Floats floats(std::int64_t count);
/// Uniform in [low, high].
Floats random_floats(std::int64_t count, float low = -1, float high = 1);
void fill_random(float* data, std::int64_t count, float low = -1, float high = 1);

/// How far kernels may be from the reference, relative to the largest value: what the tests allow.
inline constexpr double kTolerance = 5e-6;
inline constexpr double kWinogradTolerance = 3.3e-5;

/// The largest difference relative to the largest expected value; NaN if there is a NaN.
double relative_error(const float* result, const float* expected, std::int64_t count);

/// The larger one; NaN is the largest.
double worse(double error, double other);

/// A kernel with its data.
struct KernelCase {
  /// One call: what is timed.
  std::function<void()> run;
  /// Calls the kernel and returns its error relative to the reference.
  std::function<double()> verify;
  double tolerance = kTolerance;
  /// What one call does, of which the benchmark reports the rate: "GF", floating-point operations
  /// / 1e9, or "GB", bytes / 1e9 if each array is read or written once.
  double work = 0;
  const char* unit = "GB";
  std::string label = {};  ///< printed beside the result
};

struct Array {
  Floats data;
  std::int64_t count;
};

/// A case that waits for memory: its rate is that of `values` floats read or written. Everything
/// that `run` writes, the arrays `outputs`, is verified. `reference` gets as many others, which
/// hold what `outputs` held before, since kernels may update them.
KernelCase memory_bound_case(std::function<void()> run,
                             std::function<void(const std::vector<float*>& outputs)> reference,
                             std::vector<Array> outputs, std::int64_t values);

/// Registers a benchmark. `make` is called when its turn comes, and its arrays are released when
/// that of the next one does.
void add_case(const std::string& name, std::function<KernelCase()> make);

void add_conv2d_cases();
void add_batch_norm_cases();
void add_other_cases();

/// Whether any case so far has failed its verification.
bool verification_failed();

}  // namespace attune::benchmarks
