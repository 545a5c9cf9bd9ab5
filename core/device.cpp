#include "attune/core/device.h"

namespace attune {
namespace {

thread_local Device current_device = Device::cpu;

}  // namespace

DefaultDevice::DefaultDevice(Device device) : outer_(current_device) { current_device = device; }
DefaultDevice::~DefaultDevice() { current_device = outer_; }

Device DefaultDevice::current() { return current_device; }

}  // namespace attune
