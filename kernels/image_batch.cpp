#include "attune/kernels/image_batch.h"

#include "attune/kernels/cpu/image_batch.h"
#include "attune/kernels/cuda/image_batch.h"
#include "attune/kernels/dispatch.h"

namespace attune::kernels {

template <typename T>
void make_image_batch(Device device, T* y, std::int64_t* targets, const std::uint8_t* images,
                      const std::int64_t* labels, const std::int64_t* indices, std::int64_t count,
                      const ImageBatchSettings& settings) {
  dispatch(
      device, "make_image_batch",
      [&] { cpu::make_image_batch(y, targets, images, labels, indices, count, settings); },
      [&] { cuda::make_image_batch(y, targets, images, labels, indices, count, settings); });
}

template void make_image_batch(Device, float*, std::int64_t*, const std::uint8_t*,
                               const std::int64_t*, const std::int64_t*, std::int64_t,
                               const ImageBatchSettings&);
template void make_image_batch(Device, double*, std::int64_t*, const std::uint8_t*,
                               const std::int64_t*, const std::int64_t*, std::int64_t,
                               const ImageBatchSettings&);

}  // namespace attune::kernels
