#pragma once

#include "attune/kernels/device.h"   // IWYU pragma: export
#include "attune/kernels/threads.h"  // IWYU pragma: export
