#include "attune/kernels/cpu/dropout.h"

#include "attune/kernels/cpu/channel_rows.h"
#include "attune/kernels/philox.h"

namespace attune::kernels::cpu {

template <typename T>
void dropout(T* y, const T* x, std::int64_t count, const DropoutMask& mask) {
  const auto scale = static_cast<T>(1 / (1 - mask.p));
  const double threshold = mask.p * 0x1p32;
  parallel_for_ranges((count + 3) / 4, kGrain / 16, [&](Range blocks) {
    for (std::int64_t block = blocks.first; block < blocks.last; ++block) {
      const auto words = philox(mask.seed, mask.stream.value, static_cast<std::uint64_t>(block));
      for (std::int64_t i = 4 * block; i < std::min(count, 4 * block + 4); ++i) {
        y[i] = words[static_cast<std::size_t>(i % 4)] < threshold ? T(0) : x[i] * scale;
      }
    }
  });
}

template void dropout(float*, const float*, std::int64_t, const DropoutMask&);
template void dropout(double*, const double*, std::int64_t, const DropoutMask&);

}  // namespace attune::kernels::cpu
