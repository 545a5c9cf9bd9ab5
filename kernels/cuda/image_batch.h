#pragma once

#include "attune/kernels/image_batch.h"

// Contract: attune/kernels/image_batch.h.
namespace attune::kernels::cuda {

template <typename T>
void make_image_batch(T* y, std::int64_t* targets, const std::uint8_t* images,
                      const std::int64_t* labels, const std::int64_t* indices, std::int64_t count,
                      const ImageBatchSettings& settings);

}  // namespace attune::kernels::cuda
