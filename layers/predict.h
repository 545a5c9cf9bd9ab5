#pragma once

#include <cstdint>

#include "attune/core/tensor.h"
#include "attune/layers/module.h"

namespace attune {

/// net(x) without gradients, for many images x [N, ...], a few at a time: on the CPU each thread
/// takes a few images through all of the network, so that what one layer leaves is still in the
/// core's cache for the next, and no thread waits for another before the end. Of small images that
/// makes a large batch as fast as small ones. The result is that of net(x), up to rounding, which
/// may depend on the number of images that go together.
///
/// Throws Error if images go apart whose outputs depend on each other, or on chance: if a layer is
/// in Mode::train, or drops. Profiles and other observers see what runs on their own thread.
Tensor predict(Module& net, const Tensor& x, std::int64_t images_at_a_time = 8);

}  // namespace attune
