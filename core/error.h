#pragma once

#include "attune/kernels/error.h"  // IWYU pragma: export
