#pragma once

#include <memory>

#include "attune/layers/batch_norm2d.h"
#include "attune/layers/conv2d.h"
#include "attune/layers/conv_bn.h"

namespace attune {

/// Gives an existing network the four modes: wherever, in `module` or below, a Sequential has a
/// Conv2d or ConvTranspose2d directly followed by a BatchNorm2d, a ConvBN takes the place of both.
/// Returns how many pairs it found.
///
/// Names in the state dict stay the same, and so do the parameters themselves, so an optimizer
/// built before goes on. A pair's mode (and pin) is its normalisation's. Throws Error, and changes
/// nothing, if the two do not fit together.
int fuse_conv_bn(Module& module);

/// The same for a pair that only its owner knows to be one: the ConvBN that takes the place of
/// `conv` and `norm`, to be registered with register_conv_bn() under their two names. The caller
/// vouches that nothing but `norm` reads the convolution's output.
std::shared_ptr<ConvBN> fuse_conv_bn(const Conv2d& conv, const BatchNorm2d& norm);
std::shared_ptr<ConvBN> fuse_conv_bn(const ConvTranspose2d& conv, const BatchNorm2d& norm);

}  // namespace attune
