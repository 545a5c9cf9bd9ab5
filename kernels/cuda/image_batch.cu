#include "attune/kernels/augmented_pixel.h"
#include "attune/kernels/cuda/image_batch.h"
#include "attune/kernels/cuda/parallel.h"

namespace attune::kernels::cuda {

// ---- kernel and launcher: a thread a pixel, which draws its image's cut for itself ----

template <typename T>
void make_image_batch(T* y, std::int64_t* targets, const std::uint8_t* images,
                      const std::int64_t* labels, const std::int64_t* indices, std::int64_t count,
                      const ImageBatchSettings& settings) {
  const std::int64_t pixels = settings.height * settings.width;
  for_each(count * pixels, [=] __device__(std::int64_t i) {
    const std::int64_t index = indices[i / pixels];
    const std::int64_t pixel = i % pixels;
    if (pixel == 0) targets[i / pixels] = labels[index];
    write_pixel(y + i * settings.channels, images + index * pixels * settings.channels,
                pixel / settings.width, pixel % settings.width, draw_cut(settings, index),
                settings);
  });
}

template void make_image_batch(float*, std::int64_t*, const std::uint8_t*, const std::int64_t*,
                               const std::int64_t*, std::int64_t, const ImageBatchSettings&);
template void make_image_batch(double*, std::int64_t*, const std::uint8_t*, const std::int64_t*,
                               const std::int64_t*, std::int64_t, const ImageBatchSettings&);

}  // namespace attune::kernels::cuda
