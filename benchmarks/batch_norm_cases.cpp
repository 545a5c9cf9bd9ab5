// Batch normalisation, and folding it into a filter.

#include <attune/kernels/batch_norm.h>
#include <attune/kernels/fold_batch_norm.h>
#include <attune/kernels/reference/batch_norm.h>
#include <attune/kernels/reference/fold_batch_norm.h>
#include <fmt/format.h>

#include "kernel_case.h"

namespace attune::benchmarks {
namespace {

namespace reference = kernels::reference;

constexpr float kEps = 1e-5F;

struct Activations {
  std::int64_t batch, size, channels;

  std::int64_t pixels() const { return batch * size * size; }
  std::int64_t count() const { return pixels() * channels; }
};

KernelCase statistics(const Activations& a) {
  const std::int64_t pixels = a.pixels(), channels = a.channels;
  const Floats y = random_floats(a.count()), mean = floats(channels), var = floats(channels);
  return memory_bound_case(
      [=] {
        kernels::batch_norm_statistics(Device::cpu, mean.get(), var.get(), y.get(), pixels,
                                       channels);
      },
      [=](const std::vector<float*>& out) {
        reference::batch_norm_statistics(out[0], out[1], y.get(), pixels, channels);
      },
      {{mean, channels}, {var, channels}}, a.count());
}

KernelCase forward(const Activations& a, bool with_residual) {
  const std::int64_t pixels = a.pixels(), channels = a.channels;
  const Floats y = random_floats(a.count()), z = floats(a.count());
  const Floats residual = with_residual ? random_floats(a.count()) : nullptr;
  const Floats mean = random_floats(channels), rstd = random_floats(channels, 0.5F, 2);
  const Floats gamma = random_floats(channels), beta = random_floats(channels);
  return memory_bound_case(
      [=] {
        kernels::batch_norm_forward(Device::cpu, z.get(), y.get(), mean.get(), rstd.get(),
                                    gamma.get(), beta.get(), residual.get(), true, pixels,
                                    channels);
      },
      [=](const std::vector<float*>& out) {
        reference::batch_norm_forward(out[0], y.get(), mean.get(), rstd.get(), gamma.get(),
                                      beta.get(), residual.get(), true, pixels, channels);
      },
      {{z, a.count()}}, (with_residual ? 3 : 2) * a.count());
}

KernelCase backward_reduce(const Activations& a) {
  const std::int64_t pixels = a.pixels(), channels = a.channels;
  // Around zero, the sums would be nothing but what the additions lose.
  const Floats dz = random_floats(a.count(), 0, 1), y = random_floats(a.count(), 0, 1);
  const Floats mean = random_floats(channels), rstd = random_floats(channels, 0.5F, 2);
  const Floats sum_dz = floats(channels), sum_dz_yhat = floats(channels);
  return memory_bound_case(
      [=] {
        kernels::batch_norm_backward_reduce(Device::cpu, sum_dz.get(), sum_dz_yhat.get(), dz.get(),
                                            y.get(), mean.get(), rstd.get(), pixels, channels);
      },
      [=](const std::vector<float*>& out) {
        reference::batch_norm_backward_reduce(out[0], out[1], dz.get(), y.get(), mean.get(),
                                              rstd.get(), pixels, channels);
      },
      {{sum_dz, channels}, {sum_dz_yhat, channels}}, 2 * a.count());
}

KernelCase backward_train(const Activations& a) {
  const std::int64_t pixels = a.pixels(), channels = a.channels;
  const Floats dz = random_floats(a.count()), y = random_floats(a.count()), dy = floats(a.count());
  const Floats mean = random_floats(channels), rstd = random_floats(channels, 0.5F, 2);
  const Floats gamma = random_floats(channels), sum_dz = random_floats(channels);
  const Floats sum_dz_yhat = random_floats(channels);
  return memory_bound_case(
      [=] {
        kernels::batch_norm_backward_train(Device::cpu, dy.get(), dz.get(), y.get(), mean.get(),
                                           rstd.get(), gamma.get(), sum_dz.get(), sum_dz_yhat.get(),
                                           pixels, channels);
      },
      [=](const std::vector<float*>& out) {
        reference::batch_norm_backward_train(out[0], dz.get(), y.get(), mean.get(), rstd.get(),
                                             gamma.get(), sum_dz.get(), sum_dz_yhat.get(), pixels,
                                             channels);
      },
      {{dy, a.count()}}, 3 * a.count());
}

KernelCase backward_eval(const Activations& a) {
  const std::int64_t pixels = a.pixels(), channels = a.channels;
  const Floats dz = random_floats(a.count()), dy = floats(a.count());
  const Floats rstd = random_floats(channels, 0.5F, 2), gamma = random_floats(channels);
  return memory_bound_case(
      [=] {
        kernels::batch_norm_backward_eval(Device::cpu, dy.get(), dz.get(), rstd.get(), gamma.get(),
                                          pixels, channels);
      },
      [=](const std::vector<float*>& out) {
        reference::batch_norm_backward_eval(out[0], dz.get(), rstd.get(), gamma.get(), pixels,
                                            channels);
      },
      {{dy, a.count()}}, 2 * a.count());
}

KernelCase fold(const kernels::FilterChannels& filter, bool is_forward) {
  const std::int64_t count = filter.count(), channels = filter.channels();
  const Floats w = random_floats(count), gamma = random_floats(channels);
  const Floats beta = random_floats(channels), mean = random_floats(channels);
  const Floats var = random_floats(channels, 0.5F, 2);
  if (is_forward) {
    const Floats w_folded = floats(count), b_folded = floats(channels);
    return memory_bound_case(
        [=] {
          kernels::fold_batch_norm_forward<float>(Device::cpu, w_folded.get(), b_folded.get(),
                                                  w.get(), nullptr, gamma.get(), beta.get(),
                                                  mean.get(), var.get(), kEps, filter);
        },
        [=](const std::vector<float*>& out) {
          reference::fold_batch_norm_forward<float>(out[0], out[1], w.get(), nullptr, gamma.get(),
                                                    beta.get(), mean.get(), var.get(), kEps,
                                                    filter);
        },
        {{w_folded, count}, {b_folded, channels}}, 2 * count);
  }
  const Floats dw_folded = random_floats(count), db_folded = random_floats(channels);
  const Floats dw = random_floats(count), dgamma = random_floats(channels);
  const Floats dbeta = random_floats(channels);
  return memory_bound_case(
      [=] {
        kernels::fold_batch_norm_backward<float>(
            Device::cpu, dw.get(), nullptr, dgamma.get(), dbeta.get(), dw_folded.get(),
            db_folded.get(), w.get(), nullptr, gamma.get(), mean.get(), var.get(), kEps, filter);
      },
      [=](const std::vector<float*>& out) {
        reference::fold_batch_norm_backward<float>(out[0], nullptr, out[1], out[2], dw_folded.get(),
                                                   db_folded.get(), w.get(), nullptr, gamma.get(),
                                                   mean.get(), var.get(), kEps, filter);
      },
      {{dw, count}, {dgamma, channels}, {dbeta, channels}}, 4 * count);
}

}  // namespace

void add_batch_norm_cases() {
  // ResNet-20, and the widest of ResNet-50.
  for (const Activations& a : {Activations{128, 32, 16}, Activations{128, 16, 32},
                               Activations{128, 8, 64}, Activations{8, 56, 256}}) {
    const auto add = [&](const char* name, std::function<KernelCase()> make_case) {
      add_case(fmt::format("batch_norm_{}/{}@{}", name, a.channels, a.size), std::move(make_case));
    };
    add("statistics", [=] { return statistics(a); });
    add("forward", [=] { return forward(a, false); });
    add("forward_residual", [=] { return forward(a, true); });
    add("backward_reduce", [=] { return backward_reduce(a); });
    add("backward_train", [=] { return backward_train(a); });
    add("backward_eval", [=] { return backward_eval(a); });
  }
  for (const kernels::FilterChannels& filter :
       {kernels::FilterChannels{.outer = 64, .middle = 9 * 64},
        kernels::FilterChannels{.outer = 512, .middle = 9 * 512}}) {
    const std::string name = fmt::format("3x3_{0}-{0}", filter.outer);
    add_case("fold_forward/" + name, [=] { return fold(filter, true); });
    add_case("fold_backward/" + name, [=] { return fold(filter, false); });
  }
}

}  // namespace attune::benchmarks
