#pragma once

#include <cstdint>
#include <string>

namespace attune {

/// Where a tensor's bytes live and its kernels run.
enum class DeviceType : std::uint8_t {
  cpu,
  /// Counts every allocation and checks every shape, but holds no bytes and does no arithmetic: it
  /// answers how much memory a network would need, in microseconds and for any batch.
  meta,
  cuda,
};

/// A device type and, for GPUs, which one.
struct Device {
  DeviceType type = DeviceType::cpu;
  int index = 0;

  static const Device cpu;
  static const Device meta;
  static constexpr Device cuda(int index) { return {DeviceType::cuda, index}; }

  friend constexpr bool operator==(Device a, Device b) = default;
};

inline constexpr Device Device::cpu{DeviceType::cpu, 0};
inline constexpr Device Device::meta{DeviceType::meta, 0};

/// "cpu", "meta" or "cuda:0".
std::string to_string(Device device);

}  // namespace attune
