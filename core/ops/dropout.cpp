#include "attune/core/ops/dropout.h"

#include <memory>

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/strided.h"
#include "attune/core/profile.h"
#include "attune/core/step_graph.h"
#include "attune/kernels/dropout.h"

namespace attune {
namespace {

void apply(const kernels::DropoutMask& mask, Tensor& y, const Tensor& x) {
  visit_floating(x.dtype(), "dropout", [&]<typename T>(T) {
    kernels::dropout(y.device(), y.mutable_data<T>(), x.data<T>(), x.count(), mask);
  });
}

// A step that is repeated draws from another stream each time.
kernels::StepValue<std::uint64_t> next_stream(Generator& generator) {
  const std::uint64_t first = generator.next_stream();
  if (!recording_step()) return first;
  const auto stream = std::make_shared<std::uint64_t>(first);
  before_replay([stream, &generator] { *stream = generator.next_stream(); });
  return step_value<std::uint64_t>([stream] { return *stream; });
}

struct DropoutBackward final : Node {
  explicit DropoutBackward(const kernels::DropoutMask& dropped) : Node("dropout"), mask(dropped) {}

  kernels::DropoutMask mask;

  void backward(Tensor grad) override {
    Tensor grad_x = owns(grad) ? grad
                               : Tensor::empty(grad.shape(), grad.dtype(), grad.device(),
                                               MemoryPurpose::gradient);
    apply(mask, grad_x, grad);
    grad = {};  // so that grad_x is the only owner
    add_grad(0, std::move(grad_x));
  }
};

}  // namespace

Tensor dropout(const Tensor& x, double p, Generator& generator) {
  const OpTimer timer("dropout");
  check_defined("dropout", "input", x);
  if (!(p >= 0 && p < 1)) throw Error(format_text("dropout: p must be in [0, 1), not {}", p));
  const kernels::DropoutMask mask{generator.seed, next_stream(generator), p};
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  apply(mask, y, x);
  record_as<DropoutBackward>(y, {&x}, mask);
  return y;
}

}  // namespace attune
