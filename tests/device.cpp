#include "tests/device.h"

#include <cstddef>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace attune::test {
namespace {

Device from_environment() {
#ifdef ATTUNE_TEST_DEVICE_IS_FIXED
  const char* text = nullptr;
#else
  const char* text = std::getenv("ATTUNE_TEST_DEVICE");
#endif
  const std::string name = text != nullptr ? text : ATTUNE_DEFAULT_TEST_DEVICE;
  if (name == "cpu") return Device::cpu;
  if (name == "cuda") return Device::cuda(0);
  throw std::runtime_error("ATTUNE_TEST_DEVICE is '" + name + "', but must be cpu or cuda");
}

// Of the main thread, which runs the tests.
const DefaultDevice default_device(from_environment());

}  // namespace

Device test_device() { return DefaultDevice::current(); }

std::string as_if_on_cpu(std::string message) {
  const std::string name = to_string(test_device());
  for (std::size_t at = message.find(name); at != std::string::npos; at = message.find(name)) {
    if (name == "cpu") break;
    message.replace(at, name.size(), "cpu");
  }
  return message;
}

}  // namespace attune::test
