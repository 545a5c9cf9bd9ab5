#include "attune/kernels/device.h"

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

}  // namespace attune
