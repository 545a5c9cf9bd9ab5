#pragma once

// All differentiable operations.

#include "attune/core/ops/arithmetic.h"             // IWYU pragma: export
#include "attune/core/ops/batch_norm.h"             // IWYU pragma: export
#include "attune/core/ops/compare.h"                // IWYU pragma: export
#include "attune/core/ops/concatenate.h"            // IWYU pragma: export
#include "attune/core/ops/conv2d.h"                 // IWYU pragma: export
#include "attune/core/ops/conv_bn.h"                // IWYU pragma: export
#include "attune/core/ops/dropout.h"                // IWYU pragma: export
#include "attune/core/ops/linear.h"                 // IWYU pragma: export
#include "attune/core/ops/matmul.h"                 // IWYU pragma: export
#include "attune/core/ops/pad.h"                    // IWYU pragma: export
#include "attune/core/ops/permute.h"                // IWYU pragma: export
#include "attune/core/ops/pool.h"                   // IWYU pragma: export
#include "attune/core/ops/reduce.h"                 // IWYU pragma: export
#include "attune/core/ops/reshape.h"                // IWYU pragma: export
#include "attune/core/ops/slice.h"                  // IWYU pragma: export
#include "attune/core/ops/softmax_cross_entropy.h"  // IWYU pragma: export
#include "attune/core/ops/unary.h"                  // IWYU pragma: export
