#include "attune/kernels/device.h"

#include <charconv>
#include <string_view>
#include <system_error>

#include "attune/kernels/cuda/backend.h"
#include "attune/kernels/error.h"

namespace attune {

std::string to_string(Device device) {
  switch (device.type) {
    case DeviceType::cpu:
      return "cpu";
    case DeviceType::meta:
      return "meta";
    case DeviceType::cuda:
      break;
  }
  return "cuda:" + std::to_string(device.index);
}

Device parse_device(const std::string& text) {
  if (text == "cpu") return Device::cpu;
  if (text == "cuda") return Device::cuda(0);
  constexpr std::string_view prefix = "cuda:";
  if (text.starts_with(prefix)) {
    int index = 0;
    const char* const end = text.data() + text.size();
    const auto result = std::from_chars(text.data() + prefix.size(), end, index);
    if (result.ec == std::errc() && result.ptr == end && index >= 0) return Device::cuda(index);
  }
  throw Error("there is no device '" + text + "': choose cpu, cuda or cuda:N");
}

void check_available(Device device, const char* op) {
  if (device.type == DeviceType::cuda) kernels::cuda::use_device(device.index, op);
}

void synchronize(Device device) {
  if (device.type != DeviceType::cuda) return;
  kernels::cuda::use_device(device.index, "synchronize");
  kernels::cuda::wait();
}

}  // namespace attune
