#include "support/device_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>

#include "support/command_line.h"

namespace attune::examples {
namespace {

const DeviceOptions& checked(const DeviceOptions& options) {
  const bool on_cpu = options.device == Device::cpu;
  if (on_cpu && options.precision != CudaPrecision::fp32) {
    throw UsageError(fmt::format("--precision {} is for --device cuda: the CPU multiplies floats",
                                 to_string(options.precision)));
  }
  check_available(options.device, "--device");
  return options;
}

}  // namespace

void add_device_options(CLI::App& app, DeviceOptions& options, const char* group) {
  app.add_option_function<std::string>(
         "--device",
         [&options](const std::string& text) {
           try {
             options.device = parse_device(text);
           } catch (const Error& error) {
             throw CLI::ValidationError("--device", error.what());
           }
         },
         "Where to compute: cpu, or cuda, the first GPU, or cuda:N")
      ->type_name("DEVICE")
      ->default_str(to_string(options.device))
      ->group(group);
  const std::map<std::string, CudaPrecision> precisions = {
      {"fp32", CudaPrecision::fp32}, {"tf32", CudaPrecision::tf32}, {"bf16", CudaPrecision::bf16}};
  app.add_option("--precision", options.precision,
                 "What a GPU's convolutions multiply floats as: fp32, or on its tensor cores tf32 "
                 "or bf16 (10 and 7 bits of mantissa)")
      ->transform(CLI::CheckedTransformer(precisions).description(""))
      ->type_name("PRECISION")
      ->default_str(to_string(options.precision))
      ->group(group);
}

std::string describe(const DeviceOptions& options, DType dtype) {
  return fmt::format("{}, {}", to_string(options.device),
                     dtype == DType::float64 ? "fp64" : to_string(options.precision));
}

DeviceScope::DeviceScope(const DeviceOptions& options) : default_device_(checked(options).device) {
  set_cuda_precision(options.precision);
}

}  // namespace attune::examples
