#include "attune/kernels/cuda/dropout.h"
#include "attune/kernels/cuda/parallel.h"
#include "attune/kernels/philox.h"

namespace attune::kernels::cuda {

// ---- kernel and launcher: a thread for every four elements, which share a block of words ----

template <typename T>
void dropout(T* y, const T* x, std::int64_t count, const DropoutMask& mask) {
  const auto scale = static_cast<T>(1 / (1 - mask.p));
  const double threshold = mask.p * 0x1p32;
  const std::uint64_t seed = mask.seed;
  const StepValue<std::uint64_t> random_stream = mask.stream;
  for_each((count + 3) / 4, [=] __device__(std::int64_t block) {
    const auto words = philox(seed, random_stream.get(), static_cast<std::uint64_t>(block));
    for (std::int64_t i = 4 * block; i < count && i < 4 * block + 4; ++i) {
      y[i] = words[static_cast<std::size_t>(i % 4)] < threshold ? T(0) : x[i] * scale;
    }
  });
}

template void dropout(float*, const float*, std::int64_t, const DropoutMask&);
template void dropout(double*, const double*, std::int64_t, const DropoutMask&);

}  // namespace attune::kernels::cuda
