#pragma once

#include <string>

#include "attune/core/device.h"

namespace attune::test {

/// The device that tests run on: the environment variable ATTUNE_TEST_DEVICE, "cpu" or "cuda"; by
/// default the CPU, or the emulated GPU where there is one (tests/CMakeLists.txt). device.cpp makes
/// it the default one, so most tests need not mention it.
Device test_device();

/// `message` with "cpu" in the place of that device's name: so tests expect the same messages on
/// every device.
std::string as_if_on_cpu(std::string message);

}  // namespace attune::test
