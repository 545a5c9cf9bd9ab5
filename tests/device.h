#pragma once

#include "attune/core/device.h"

namespace attune::test {

/// The device that tests run on: the environment variable ATTUNE_TEST_DEVICE, "cpu" (the default)
/// or "cuda". device.cpp makes it the default one, so most tests need not mention it.
Device test_device();

}  // namespace attune::test
