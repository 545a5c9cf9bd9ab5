// Pooling, the loss, and the update of weights.

#include <attune/kernels/optimizer_step.h>
#include <attune/kernels/pool.h>
#include <attune/kernels/reference/optimizer_step.h>
#include <attune/kernels/reference/pool.h>
#include <attune/kernels/reference/softmax_cross_entropy.h>
#include <attune/kernels/softmax_cross_entropy.h>
#include <fmt/format.h>

#include "kernel_case.h"

namespace attune::benchmarks {
namespace {

namespace reference = kernels::reference;

using kernels::Pool2dShape;

std::int64_t input_count(const Pool2dShape& s) { return s.n * s.h * s.w * s.c; }
std::int64_t output_count(const Pool2dShape& s) { return s.n * s.p * s.q * s.c; }

KernelCase max_pool_forward(const Pool2dShape& s) {
  const Floats x = random_floats(input_count(s)), y = floats(output_count(s));
  const auto argmax = std::make_shared<std::vector<std::uint8_t>>(output_count(s));
  return memory_bound_case(
      [=] { kernels::max_pool2d_forward(Device::cpu, y.get(), argmax->data(), x.get(), s); },
      [=](const std::vector<float*>& out) {
        reference::max_pool2d_forward(out[0], nullptr, x.get(), s);
      },
      {{y, output_count(s)}}, input_count(s) + output_count(s));
}

KernelCase max_pool_backward(const Pool2dShape& s) {
  const Floats x = random_floats(input_count(s)), dx = floats(input_count(s));
  const Floats dy = random_floats(output_count(s));
  const auto argmax = std::make_shared<std::vector<std::uint8_t>>(output_count(s));
  reference::max_pool2d_forward(floats(output_count(s)).get(), argmax->data(), x.get(), s);
  return memory_bound_case(
      [=] { kernels::max_pool2d_backward(Device::cpu, dx.get(), dy.get(), argmax->data(), s); },
      [=](const std::vector<float*>& out) {
        reference::max_pool2d_backward(out[0], dy.get(), argmax->data(), s, false);
      },
      {{dx, input_count(s)}}, input_count(s) + output_count(s));
}

KernelCase global_avg_pool(std::int64_t n, std::int64_t pixels, std::int64_t c, bool forward) {
  const std::int64_t count = n * pixels * c;
  const std::int64_t values = count + n * c;
  if (forward) {
    const Floats x = random_floats(count), y = floats(n * c);
    return memory_bound_case(
        [=] { kernels::global_avg_pool_forward(Device::cpu, y.get(), x.get(), n, pixels, c); },
        [=](const std::vector<float*>& out) {
          reference::global_avg_pool_forward(out[0], x.get(), n, pixels, c);
        },
        {{y, n * c}}, values);
  }
  const Floats dy = random_floats(n * c), dx = floats(count);
  return memory_bound_case(
      [=] {
        kernels::global_avg_pool_backward<float>(Device::cpu, dx.get(), dy.get(), n, pixels, c);
      },
      [=](const std::vector<float*>& out) {
        reference::global_avg_pool_backward<float>(out[0], dy.get(), n, pixels, c, false, nullptr);
      },
      {{dx, count}}, values);
}

KernelCase softmax_cross_entropy(std::int64_t rows, std::int64_t classes, bool forward) {
  const std::int64_t count = rows * classes;
  const Floats logits = random_floats(count, -5, 5);
  const auto targets = std::make_shared<std::vector<std::int64_t>>();
  for (std::int64_t i = 0; i < rows; ++i) targets->push_back(7 * i % classes);
  const Floats loss = floats(1), log_sum_exp = floats(rows);
  if (forward) {
    return memory_bound_case(
        [=] {
          kernels::softmax_cross_entropy_forward(Device::cpu, loss.get(), log_sum_exp.get(),
                                                 logits.get(), targets->data(), rows, classes,
                                                 0.0F);
        },
        [=](const std::vector<float*>& out) {
          reference::softmax_cross_entropy_forward(out[0], out[1], logits.get(), targets->data(),
                                                   rows, classes, 0.0F);
        },
        {{loss, 1}, {log_sum_exp, rows}}, count);
  }
  reference::softmax_cross_entropy_forward(loss.get(), log_sum_exp.get(), logits.get(),
                                           targets->data(), rows, classes, 0.0F);
  const Floats dloss = random_floats(1, 1, 2), dlogits = floats(count);
  return memory_bound_case(
      [=] {
        kernels::softmax_cross_entropy_backward(Device::cpu, dlogits.get(), dloss.get(),
                                                logits.get(), log_sum_exp.get(), targets->data(),
                                                rows, classes, 0.0F);
      },
      [=](const std::vector<float*>& out) {
        reference::softmax_cross_entropy_backward(out[0], dloss.get(), logits.get(),
                                                  log_sum_exp.get(), targets->data(), rows, classes,
                                                  0.0F, false);
      },
      {{dlogits, count}}, 2 * count);
}

KernelCase sgd_step(std::int64_t count) {
  const Floats w = random_floats(count), velocity = random_floats(count);
  const Floats grad = random_floats(count);
  const kernels::SgdSettings settings{.lr = 1e-3, .momentum = 0.9, .weight_decay = 1e-4};
  return memory_bound_case(
      [=] {
        const kernels::SgdTensor<float> tensor{w.get(), velocity.get(), grad.get(), count};
        kernels::sgd_step<float>(Device::cpu, {&tensor, 1}, settings);
      },
      [=](const std::vector<float*>& out) {
        reference::sgd_step(out[0], out[1], grad.get(), count, settings);
      },
      {{w, count}, {velocity, count}}, 5 * count);
}

}  // namespace

void add_other_cases() {
  const Pool2dShape stem{.n = 8,
                         .h = 112,
                         .w = 112,
                         .c = 64,
                         .r = 3,
                         .s = 3,
                         .stride_h = 2,
                         .stride_w = 2,
                         .pad_h = 1,
                         .pad_w = 1,
                         .p = 56,
                         .q = 56};
  add_case("max_pool_forward/3x3_64@112_stride2", [=] { return max_pool_forward(stem); });
  add_case("max_pool_backward/3x3_64@112_stride2", [=] { return max_pool_backward(stem); });
  for (const bool forward : {true, false}) {
    const char* pass = forward ? "forward" : "backward";
    add_case(fmt::format("global_avg_pool_{}/64@8", pass),
             [=] { return global_avg_pool(128, 8 * 8, 64, forward); });
    add_case(fmt::format("global_avg_pool_{}/2048@7", pass),
             [=] { return global_avg_pool(8, 7 * 7, 2048, forward); });
    add_case(fmt::format("softmax_cross_entropy_{}/128x10", pass),
             [=] { return softmax_cross_entropy(128, 10, forward); });
    add_case(fmt::format("softmax_cross_entropy_{}/64x1000", pass),
             [=] { return softmax_cross_entropy(64, 1000, forward); });
  }
  add_case("sgd_step/resnet20", [] { return sgd_step(275'572); });
  add_case("sgd_step/resnet18", [] { return sgd_step(11'689'512); });
}

}  // namespace attune::benchmarks
