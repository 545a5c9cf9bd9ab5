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

/// The device that computes of this name; "cuda" is the first GPU. Throws Error for any other text.
Device parse_device(const std::string& text);

/// Throws Error, beginning with `op`, unless tensors can be on `device`; it says what is missing:
/// CUDA support, the driver, a GPU of this number, or kernels for its architecture.
void check_available(Device device, const char* op);

/// Waits until the work that was given to `device` is done, for who measures time. A CPU's is done
/// when a function returns.
void synchronize(Device device);

}  // namespace attune
