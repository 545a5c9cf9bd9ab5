#include "attune/core/ops/linear.h"

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/strided.h"
#include "attune/core/profile.h"
#include "attune/core/trace.h"
#include "attune/kernels/elementwise.h"
#include "attune/kernels/gemm.h"
#include "attune/kernels/reduce.h"

namespace attune {
namespace {

enum Input { x_input, weight_input, bias_input };

struct LinearBackward final : Node {
  LinearBackward() : Node("linear") {}

  Saved x, weight;
  std::int64_t rows = 0, in = 0, out = 0;

  void backward(Tensor grad) override {
    visit_floating(grad.dtype(), "linear", [&]<typename T>(T) {
      const T* dy = grad.data<T>();  // [rows, out]
      if (needs(bias_input)) {
        auto [grad_bias, accumulate] = destination(bias_input);
        kernels::reduce_sum(grad.device(), grad_bias.mutable_data<T>(), dy, 1, rows, out, T(1),
                            accumulate);
      }
      if (needs(weight_input)) {  // dW [out, in] = dy^T x
        count_flops(2 * out * in * rows);
        auto [grad_weight, accumulate] = destination(weight_input);
        kernels::gemm(grad.device(), grad_weight.mutable_data<T>(), dy, restore(x).data<T>(), out,
                      in, rows, true, false, accumulate);
      }
      if (needs(x_input)) {  // dx [rows, in] = dy W
        count_flops(2 * rows * in * out);
        auto [grad_x, accumulate] = destination(x_input);
        kernels::gemm(grad.device(), grad_x.mutable_data<T>(), dy, restore(weight).data<T>(), rows,
                      in, out, false, false, accumulate);
      }
    });
  }
};

void check_arguments(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check_rank("linear", "input", x, 2);
  check_rank("linear", "weight", weight, 2);
  check_compatible("linear", x, weight);
  if (x.size(1) != weight.size(1)) {
    throw Error(format_text("linear: input {} does not fit weight {} (out, in)",
                            to_string(x.shape()), to_string(weight.shape())));
  }
  if (!bias.defined()) return;
  check_compatible("linear", x, bias);
  if (bias.shape() != Shape{weight.size(0)}) {
    throw Error(format_text("linear: bias {} does not fit weight {} (out, in)",
                            to_string(bias.shape()), to_string(weight.shape())));
  }
}

}  // namespace

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const OpTimer timer("linear");
  check_arguments(x, weight, bias);
  const std::int64_t rows = x.size(0), in = x.size(1), out = weight.size(0);
  count_flops(2 * rows * out * in);
  Tensor y = visit_floating(x.dtype(), "linear", [&]<typename T>(T) {
    Tensor result = Tensor::empty({rows, out}, x.dtype(), x.device());
    T* elements = result.mutable_data<T>();
    kernels::gemm(x.device(), elements, x.data<T>(), weight.data<T>(), rows, out, in, false, true);
    if (bias.defined()) {
      kernels::binary(x.device(), kernels::BinaryOp::add, elements, elements, bias.data<T>(),
                      strided_shape(result.shape(), row_major(result.shape()),
                                    broadcast_strides(bias.shape(), result.shape())));
    }
    return result;
  });
  if (auto node = record<LinearBackward>(y, x, weight, bias)) {
    node->rows = rows;
    node->in = in;
    node->out = out;
    if (node->needs(weight_input)) node->x = node->save(x);
    if (node->needs(x_input)) node->weight = node->save(weight);
  }
  if (auto* const trace = TraceScope::current()) trace->add({"linear", {x, weight, bias}, y});
  return y;
}

}  // namespace attune
