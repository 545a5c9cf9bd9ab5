#pragma once

#include "attune/core/tensor.h"
#include "attune/kernels/image_batch.h"  // IWYU pragma: export

namespace attune {

/// Makes a batch of images that are kept as bytes where it is needed, augmentation included: on a
/// GPU one kernel, and nothing comes from the host. pixels [N, H, W, C] uint8 with C at most 4,
/// labels [N] int64, and order [M] int64, each element in [0, N) (not checked), are on one device.
/// Overwrites images [n, H, W, C] floating and targets [n] int64 with the n images that `order`
/// names from position `first` on. What happens to an image is a function of settings.seed and its
/// index, the same on every device: `settings` says how (its extents are those of `pixels`).
void make_image_batch(Tensor& images, Tensor& targets, const Tensor& pixels, const Tensor& labels,
                      const Tensor& order, std::int64_t first,
                      kernels::ImageBatchSettings settings);

}  // namespace attune
