#pragma once

#include "attune/core/ops/image_batch.h"
#include "attune/core/tensor.h"
#include "attune/data/data_loader.h"

namespace attune {

/// A data set on a device, as bytes, and the transform that its batches are made with there.
class ResidentImages {
 public:
  /// Throws Error if the images differ in size, or no kernel does what `transform` does.
  ResidentImages(const Dataset& dataset, const Compose& transform, Device device);

  /// The batch of the `count` images that `order`, on the device, names from `first` on; without
  /// `indices`. What is random about image i comes from RandomStream(seed, i), as elsewhere.
  Batch make(const Tensor& order, std::int64_t first, std::int64_t count, std::uint64_t seed,
             DType dtype) const;

 private:
  kernels::ImageBatchSettings settings_;
  Tensor pixels_;  // [N, H, W, C] uint8
  Tensor labels_;  // [N] int64
};

}  // namespace attune
