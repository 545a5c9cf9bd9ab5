// The convolutions of ResNets for CIFAR and ImageNet, and of MobileNets.

#include <attune/kernels/conv2d.h>
#include <attune/kernels/conv_algorithm.h>
#include <attune/kernels/reference/conv2d.h>
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "kernel_case.h"

namespace attune::benchmarks {
namespace {

struct Layer {
  std::int64_t batch, size, channels, filters, filter_size, stride;
  bool depthwise = false;
};

const Layer kLayers[] = {
    // ResNet-20
    {128, 32, 3, 16, 3, 1},
    {128, 32, 16, 16, 3, 1},
    {128, 16, 32, 32, 3, 1},
    {128, 8, 64, 64, 3, 1},
    {128, 32, 16, 32, 3, 2},
    {128, 16, 32, 64, 3, 2},
    {128, 32, 16, 32, 1, 2},
    {128, 16, 32, 64, 1, 2},
    // ResNet-18 and ResNet-50
    {8, 224, 3, 64, 7, 2},
    {8, 56, 64, 64, 3, 1},
    {8, 28, 128, 128, 3, 1},
    {8, 14, 256, 256, 3, 1},
    {8, 7, 512, 512, 3, 1},
    {8, 56, 64, 128, 3, 2},
    {8, 56, 128, 128, 3, 2},
    {8, 56, 64, 256, 1, 1},
    {8, 56, 256, 64, 1, 1},
    {8, 28, 512, 128, 1, 1},
    {8, 14, 1024, 256, 1, 1},
    {8, 7, 2048, 512, 1, 1},
    {8, 56, 64, 128, 1, 2},
    {8, 56, 256, 512, 1, 2},
    // MobileNet
    {8, 112, 32, 32, 3, 1, true},
    {8, 56, 128, 128, 3, 1, true},
    {8, 56, 128, 128, 3, 2, true},
};

std::string name_of(const Layer& l) {
  std::string name = l.depthwise
                         ? fmt::format("depthwise3x3_{}", l.channels)
                         : fmt::format("{0}x{0}_{1}-{2}", l.filter_size, l.channels, l.filters);
  name += fmt::format("@{}", l.size);
  if (l.stride > 1) name += fmt::format("_stride{}", l.stride);
  return name;
}

Conv2dShape shape_of(const Layer& l) {
  const std::int64_t groups = l.depthwise ? l.channels : 1;
  return make_conv2d_shape("bench_kernels", {l.batch, l.size, l.size, l.channels},
                           {l.filters, l.filter_size, l.filter_size, l.channels / groups},
                           {.stride = {l.stride, l.stride},
                            .padding = {l.filter_size / 2, l.filter_size / 2},
                            .groups = groups});
}

/// All that a peer needs to compute the same.
std::string label_of(const Conv2dShape& s) {
  return fmt::format("n={} h={} w={} c={} k={} r={} s={} stride={} pad={} groups={}", s.n, s.h, s.w,
                     s.c, s.k, s.r, s.s, s.stride_h, s.pad_h, s.groups);
}

double tolerance_of(ConvAlgorithm algorithm) {
  return algorithm == ConvAlgorithm::direct ? kTolerance : kWinogradTolerance;
}

/// The reference is slow, so only these images of a batch are compared with it: the first and the
/// last one, or of large images the last one.
std::vector<std::int64_t> verified_images(const Conv2dShape& s) {
  constexpr std::int64_t kMaxFlops = 100'000'000;
  if (s.n == 1 || s.flops() / s.n > kMaxFlops) return {s.n - 1};
  return {0, s.n - 1};
}

KernelCase forward_or_backward_input(const Conv2dShape& shape, ConvAlgorithm algorithm,
                                     bool forward) {
  const std::int64_t in_count = forward ? shape.input_count() : shape.output_count();
  const std::int64_t out_count = forward ? shape.output_count() : shape.input_count();
  const Floats in = random_floats(in_count), w = random_floats(shape.filter_count());
  const Floats out = floats(out_count);
  const auto run = [=] {
    set_conv_algorithm(algorithm);
    const auto kernel =
        forward ? kernels::conv2d_forward<float> : kernels::conv2d_backward_input<float>;
    kernel(Device::cpu, out.get(), in.get(), w.get(), shape, {}, {});
  };
  const auto verify = [=] {
    run();
    Conv2dShape image = shape;
    image.n = 1;
    const std::int64_t in_size = in_count / shape.n, out_size = out_count / shape.n;
    const Floats expected = floats(out_size);
    const auto reference = forward ? kernels::reference::conv2d_forward<float>
                                   : kernels::reference::conv2d_backward_input<float>;
    double error = 0;
    for (const std::int64_t i : verified_images(shape)) {
      reference(expected.get(), in.get() + i * in_size, w.get(), image, {});
      error = worse(error, relative_error(out.get() + i * out_size, expected.get(), out_size));
    }
    return error;
  };
  return {run,  verify,         tolerance_of(algorithm), static_cast<double>(shape.flops()) / 1e9,
          "GF", label_of(shape)};
}

/// The gradient is a sum over all images, so for verification dy is zero in all others.
KernelCase backward_weight(const Conv2dShape& shape, ConvAlgorithm algorithm) {
  const Floats x = random_floats(shape.input_count()), dy = floats(shape.output_count());
  const Floats dw = floats(shape.filter_count());
  const auto run = [=] {
    set_conv_algorithm(algorithm);
    kernels::conv2d_backward_weight<float>(Device::cpu, dw.get(), x.get(), dy.get(), shape);
  };
  const auto verify = [=] {
    Conv2dShape image = shape;
    image.n = 1;
    const std::int64_t x_size = shape.input_count() / shape.n;
    const std::int64_t dy_size = shape.output_count() / shape.n;
    const Floats expected = floats(shape.filter_count());
    std::fill_n(dy.get(), shape.output_count(), 0.0F);
    bool accumulate = false;
    for (const std::int64_t i : verified_images(shape)) {
      fill_random(dy.get() + i * dy_size, dy_size);
      kernels::reference::conv2d_backward_weight<float>(expected.get(), x.get() + i * x_size,
                                                        dy.get() + i * dy_size, image, accumulate);
      accumulate = true;
    }
    run();
    const double error = relative_error(dw.get(), expected.get(), shape.filter_count());
    fill_random(dy.get(), shape.output_count());
    return error;
  };
  return {run,  verify,         tolerance_of(algorithm), static_cast<double>(shape.flops()) / 1e9,
          "GF", label_of(shape)};
}

/// Where there is a choice, both algorithms and what the library chooses.
std::vector<ConvAlgorithm> algorithms_of(const Conv2dShape& s) {
  const bool winograd =
      s.r == 3 && s.s == 3 && s.stride_h == 1 && s.groups == 1 && s.c % 16 == 0 && s.k % 16 == 0;
  if (!winograd) return {ConvAlgorithm::direct};
  return {ConvAlgorithm::direct, ConvAlgorithm::winograd, ConvAlgorithm::automatic};
}

}  // namespace

void add_conv2d_cases() {
  for (const Layer& layer : kLayers) {
    const Conv2dShape shape = shape_of(layer);
    for (const ConvAlgorithm algorithm : algorithms_of(shape)) {
      const auto add = [&](const char* pass, std::function<KernelCase()> make) {
        add_case(fmt::format("conv2d_{}/{}/{}", pass, name_of(layer), to_string(algorithm)),
                 std::move(make));
      };
      add("forward", [=] { return forward_or_backward_input(shape, algorithm, true); });
      // Nobody needs the gradient of the images that a network begins with.
      if (layer.channels > 3) {
        add("backward_input", [=] { return forward_or_backward_input(shape, algorithm, false); });
      }
      add("backward_weight", [=] { return backward_weight(shape, algorithm); });
    }
  }
}

}  // namespace attune::benchmarks
