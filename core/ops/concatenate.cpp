#include "attune/core/ops/concatenate.h"

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/strided.h"
#include "attune/core/profile.h"
#include "attune/core/trace.h"
#include "attune/kernels/elementwise.h"

namespace attune {
namespace {

struct ConcatenateBackward final : Node {
  explicit ConcatenateBackward(std::vector<std::int64_t> first_elements)
      : Node("concatenate"), offsets(std::move(first_elements)) {}

  std::vector<std::int64_t> offsets;  // of each part's first element within the output

  void backward(Tensor grad) override {
    const Strides strides = row_major(grad.shape());
    for (std::size_t i = 0; i < offsets.size(); ++i) {
      if (needs(i)) write_gradient(destination(i), grad, strides, offsets[i]);
    }
  }
};

Shape joined_shape(const std::vector<Tensor>& parts, std::size_t axis) {
  const auto along = static_cast<std::int64_t>(axis);
  Shape joined = parts.front().shape();
  joined.set(along, 0);
  for (const Tensor& part : parts) {
    check_compatible("concatenate", parts.front(), part);
    Shape expected = part.shape();
    if (part.rank() == joined.rank()) expected.set(along, joined[along]);
    if (expected != joined) {
      throw Error(format_text("concatenate: {} and {} differ in an axis other than {}",
                              to_string(parts.front().shape()), to_string(part.shape()), axis));
    }
    joined.set(along, joined[along] + part.size(along));
  }
  return joined;
}

}  // namespace

Tensor concatenate(const std::vector<Tensor>& parts, std::int64_t axis) {
  const OpTimer timer("concatenate");
  if (parts.empty()) throw Error("concatenate: no tensors given");
  check_defined("concatenate", "the first tensor", parts.front());
  const std::size_t index = axis_index("concatenate", parts.front(), axis);
  const Shape shape = joined_shape(parts, index);
  const Strides strides = row_major(shape);
  Tensor y = Tensor::empty(shape, parts.front().dtype(), parts.front().device());

  std::vector<const Tensor*> inputs;
  std::vector<std::int64_t> offsets;
  std::int64_t offset = 0;
  for (const Tensor& part : parts) {
    visit_dtype(y.dtype(), [&]<typename T>(T) {
      kernels::scatter_strided(y.device(), advance(y.mutable_data<T>(), offset), part.data<T>(),
                               strided_shape(part.shape(), strides), false);
    });
    inputs.push_back(&part);
    offsets.push_back(offset);
    offset += part.shape().begin()[index] * strides[index];
  }
  record_as<ConcatenateBackward>(y, inputs, offsets);
  if (auto* const trace = TraceScope::current()) {
    trace->add({"concatenate", parts, y, {{"axis", {static_cast<double>(index)}}}});
  }
  return y;
}

}  // namespace attune
