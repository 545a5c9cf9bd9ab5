#include "attune/core/ops/dropout.h"

#include <algorithm>

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/strided.h"
#include "attune/core/profile.h"

namespace attune {
namespace {

// Which elements are dropped, and what becomes of the others.
struct Mask {
  std::uint64_t seed, stream;
  double p;

  // y = mask * x, element i being decided by word i % 4 of the generator's block i / 4. May work
  // in place.
  void apply(Tensor& y, const Tensor& x) const {
    visit_floating(x.dtype(), "dropout", [&]<typename T>(T) {
      T* out = y.mutable_data<T>();
      if (y.device() == Device::meta) return;
      const T* in = x.data<T>();
      const auto scale = static_cast<T>(1 / (1 - p));
      const double threshold = p * 0x1p32;
      const std::int64_t count = x.count(), blocks = (count + 3) / 4;
#pragma omp parallel for schedule(static) num_threads(num_threads()) if (count > 4096)
      for (std::int64_t block = 0; block < blocks; ++block) {
        const auto words = philox(seed, stream, static_cast<std::uint64_t>(block));
        for (std::int64_t i = 4 * block; i < std::min(count, 4 * block + 4); ++i) {
          out[i] = words[static_cast<std::size_t>(i % 4)] < threshold ? T(0) : in[i] * scale;
        }
      }
    });
  }
};

struct DropoutBackward final : Node {
  explicit DropoutBackward(const Mask& dropped) : Node("dropout"), mask(dropped) {}

  Mask mask;

  void backward(Tensor grad) override {
    Tensor grad_x = owns(grad) ? grad
                               : Tensor::empty(grad.shape(), grad.dtype(), grad.device(),
                                               MemoryPurpose::gradient);
    mask.apply(grad_x, grad);
    grad = {};  // so that grad_x is the only owner
    add_grad(0, std::move(grad_x));
  }
};

}  // namespace

Tensor dropout(const Tensor& x, double p, Generator& generator) {
  const OpTimer timer("dropout");
  check_defined("dropout", "input", x);
  if (!(p >= 0 && p < 1)) throw Error(format_text("dropout: p must be in [0, 1), not {}", p));
  const Mask mask{generator.seed, generator.next_stream(), p};
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  mask.apply(y, x);
  record_as<DropoutBackward>(y, {&x}, mask);
  return y;
}

}  // namespace attune
