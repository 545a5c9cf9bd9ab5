// Times single CPU kernels at the shapes of well-known networks. Each is verified first: its
// largest error relative to kernels/reference is printed with its speed, and one that is too large
// makes the program fail.

#include <attune/kernels/cpu_isa.h>
#include <attune/kernels/threads.h>
#include <attune/version.h>
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <exception>
#include <string>

#include "kernel_case.h"

namespace {

void print_help() {
  fmt::print(
      "Times single CPU kernels, each after verifying it.\n\n"
      "bench_kernels [--threads N]   0, the default: one a core\n");
  benchmark::PrintDefaultHelp();
}

int main_checked(int argc, char** argv) {
  using namespace attune;
  benchmark::Initialize(&argc, argv, print_help);  // takes its own options out of argv
  int threads = 0;
  CLI::App app;
  app.add_option("--threads", threads)->check(CLI::NonNegativeNumber);
  CLI11_PARSE(app, argc, argv);
  if (threads > 0) set_num_threads(threads);

  benchmark::AddCustomContext("attune", std::string(version));
  benchmark::AddCustomContext("compiler", ATTUNE_COMPILER);
  benchmark::AddCustomContext("isa", cpu_isa());
  benchmark::AddCustomContext("threads", std::to_string(num_threads()));
  benchmarks::add_conv2d_cases();
  benchmarks::add_batch_norm_cases();
  benchmarks::add_other_cases();
  const std::size_t matched = benchmark::RunSpecifiedBenchmarks();
  return matched == 0 || benchmarks::verification_failed() ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return main_checked(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_kernels: {}\n", error.what());
    return 1;
  }
}
