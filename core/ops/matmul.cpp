#include "attune/core/ops/matmul.h"

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/profile.h"
#include "attune/kernels/gemm.h"

namespace attune {
namespace {

enum Input { a_input, b_input };

struct MatmulBackward final : Node {
  MatmulBackward() : Node("matmul") {}

  Saved a, b;
  std::int64_t m = 0, n = 0, k = 0;

  void backward(Tensor grad) override {
    visit_floating(grad.dtype(), "matmul", [&]<typename T>(T) {
      if (needs(a_input)) {  // dA [m, k] = dC [m, n] B^T
        count_flops(2 * m * k * n);
        auto [grad_a, accumulate] = destination(a_input);
        kernels::gemm(grad.device(), grad_a.mutable_data<T>(), grad.data<T>(), restore(b).data<T>(),
                      m, k, n, false, true, accumulate);
      }
      if (needs(b_input)) {  // dB [k, n] = A^T dC [m, n]
        count_flops(2 * k * n * m);
        auto [grad_b, accumulate] = destination(b_input);
        kernels::gemm(grad.device(), grad_b.mutable_data<T>(), restore(a).data<T>(), grad.data<T>(),
                      k, n, m, true, false, accumulate);
      }
    });
  }
};

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) {
  const OpTimer timer("matmul");
  check_rank("matmul", "the left operand", a, 2);
  check_rank("matmul", "the right operand", b, 2);
  check_compatible("matmul", a, b);
  const std::int64_t m = a.size(0), k = a.size(1), n = b.size(1);
  if (b.size(0) != k) {
    throw Error(format_text("matmul: {} and {} do not share the inner extent", to_string(a.shape()),
                            to_string(b.shape())));
  }
  count_flops(2 * m * n * k);
  Tensor c = visit_floating(a.dtype(), "matmul", [&]<typename T>(T) {
    Tensor result = Tensor::empty({m, n}, a.dtype(), a.device());
    kernels::gemm(a.device(), result.mutable_data<T>(), a.data<T>(), b.data<T>(), m, n, k, false,
                  false);
    return result;
  });
  if (auto node = record<MatmulBackward>(c, a, b)) {
    node->m = m;
    node->n = n;
    node->k = k;
    if (node->needs(b_input)) node->a = node->save(a);
    if (node->needs(a_input)) node->b = node->save(b);
  }
  return c;
}

}  // namespace attune
