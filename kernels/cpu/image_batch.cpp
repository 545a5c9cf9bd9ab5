#include "attune/kernels/cpu/image_batch.h"

#include "attune/kernels/augmented_pixel.h"
#include "attune/kernels/cpu/parallel.h"

namespace attune::kernels::cpu {

template <typename T>
void make_image_batch(T* y, std::int64_t* targets, const std::uint8_t* images,
                      const std::int64_t* labels, const std::int64_t* indices, std::int64_t count,
                      const ImageBatchSettings& settings) {
  const std::int64_t height = settings.height, width = settings.width;
  const std::int64_t channels = settings.channels;
  parallel_for(count, [&](std::int64_t i) {
    const ImageCut cut = draw_cut(settings, indices[i]);
    const std::uint8_t* image = images + indices[i] * height * width * channels;
    targets[i] = labels[indices[i]];
    for (std::int64_t row = 0; row < height; ++row) {
      for (std::int64_t column = 0; column < width; ++column) {
        T* pixel = y + ((i * height + row) * width + column) * channels;
        write_pixel(pixel, image, row, column, cut, settings);
      }
    }
  });
}

template void make_image_batch(float*, std::int64_t*, const std::uint8_t*, const std::int64_t*,
                               const std::int64_t*, std::int64_t, const ImageBatchSettings&);
template void make_image_batch(double*, std::int64_t*, const std::uint8_t*, const std::int64_t*,
                               const std::int64_t*, std::int64_t, const ImageBatchSettings&);

}  // namespace attune::kernels::cpu
