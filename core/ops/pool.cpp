#include "attune/core/ops/pool.h"

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/profile.h"
#include "attune/core/trace.h"
#include "attune/kernels/pool.h"

namespace attune {
namespace {

using kernels::Pool2dShape;

constexpr std::int64_t kMaxWindow = 255;  // positions are kept in one byte

// Extent of the output along one axis.
std::int64_t pooled(const char* op, const Tensor& x, std::int64_t size, std::int64_t window,
                    std::int64_t stride, std::int64_t padding) {
  if (window < 1 || stride < 1 || padding < 0 || 2 * padding > window) {
    throw Error(
        format_text("{}: window {}, stride {}, padding {}: window and stride must be "
                    "positive, padding at most half the window",
                    op, window, stride, padding));
  }
  if (size + 2 * padding < window) {
    throw Error(format_text("{}: a window of {} with padding {} does not fit into {}", op, window,
                            padding, describe(x)));
  }
  return (size + 2 * padding - window) / stride + 1;
}

Pool2dShape make_shape(const char* op, const Tensor& x, const Pool2dOptions& options) {
  check_rank(op, "input", x, 4);
  Pool2dShape shape{.n = x.size(0), .h = x.size(1), .w = x.size(2), .c = x.size(3)};
  shape.r = options.window[0];
  shape.s = options.window[1];
  shape.stride_h = options.stride[0] == 0 ? shape.r : options.stride[0];
  shape.stride_w = options.stride[1] == 0 ? shape.s : options.stride[1];
  shape.pad_h = options.padding[0];
  shape.pad_w = options.padding[1];
  shape.p = pooled(op, x, shape.h, shape.r, shape.stride_h, shape.pad_h);
  shape.q = pooled(op, x, shape.w, shape.s, shape.stride_w, shape.pad_w);
  if (shape.r > kMaxWindow || shape.s > kMaxWindow || shape.r * shape.s > kMaxWindow) {
    throw Error(format_text("{}: a window of {} x {} has more than {} pixels", op, shape.r, shape.s,
                            kMaxWindow));
  }
  return shape;
}

void trace_pooling(const char* op, const Tensor& x, const Tensor& y, const Pool2dShape& shape) {
  auto* const trace = TraceScope::current();
  if (trace == nullptr) return;
  const auto pair = [](std::int64_t vertical, std::int64_t horizontal) {
    return std::vector{static_cast<double>(vertical), static_cast<double>(horizontal)};
  };
  trace->add({op,
              {x},
              y,
              {{"window", pair(shape.r, shape.s)},
               {"stride", pair(shape.stride_h, shape.stride_w)},
               {"padding", pair(shape.pad_h, shape.pad_w)}}});
}

struct MaxPool2dBackward final : Node {
  explicit MaxPool2dBackward(const Pool2dShape& geometry) : Node("max_pool2d"), shape(geometry) {}

  Pool2dShape shape;
  Saved argmax;

  void backward(Tensor grad) override {
    auto [grad_x, accumulate] = destination(0);
    visit_floating(grad.dtype(), name(), [&, &dx = grad_x, add = accumulate]<typename T>(T) {
      kernels::max_pool2d_backward(grad.device(), dx.template mutable_data<T>(), grad.data<T>(),
                                   restore(argmax).data<std::uint8_t>(), shape, add);
    });
  }
};

struct AvgPool2dBackward final : Node {
  explicit AvgPool2dBackward(const Pool2dShape& geometry) : Node("avg_pool2d"), shape(geometry) {}

  Pool2dShape shape;

  void backward(Tensor grad) override {
    auto [grad_x, accumulate] = destination(0);
    visit_floating(grad.dtype(), name(), [&, &dx = grad_x, add = accumulate]<typename T>(T) {
      kernels::avg_pool2d_backward(grad.device(), dx.template mutable_data<T>(), grad.data<T>(),
                                   shape, add);
    });
  }
};

struct GlobalAvgPoolBackward final : Node {
  GlobalAvgPoolBackward() : Node("global_avg_pool") {}

  void backward(Tensor grad) override {
    const Shape& x = inputs()[0]->shape;
    auto [grad_x, accumulate] = destination(0);
    visit_floating(grad.dtype(), name(), [&, &dx = grad_x, add = accumulate]<typename T>(T) {
      kernels::global_avg_pool_backward(grad.device(), dx.template mutable_data<T>(),
                                        grad.data<T>(), x[0], x[1] * x[2], x[3], add);
    });
  }
};

}  // namespace

Tensor max_pool2d(const Tensor& x, const Pool2dOptions& options) {
  const OpTimer timer("max_pool2d");
  const Pool2dShape shape = make_shape("max_pool2d", x, options);
  const Shape pooled_shape{shape.n, shape.p, shape.q, shape.c};
  // Positions are wanted only if a gradient will be.
  Tensor argmax;
  if (grad_enabled() && x.requires_grad()) {
    argmax = Tensor::empty(pooled_shape, DType::uint8, x.device());
  }
  Tensor y = visit_floating(x.dtype(), "max_pool2d", [&]<typename T>(T) {
    Tensor result = Tensor::empty(pooled_shape, x.dtype(), x.device());
    kernels::max_pool2d_forward(x.device(), result.mutable_data<T>(),
                                argmax.defined() ? argmax.mutable_data<std::uint8_t>() : nullptr,
                                x.data<T>(), shape);
    return result;
  });
  if (auto node = record_as<MaxPool2dBackward>(y, {&x}, shape)) node->argmax = node->save(argmax);
  trace_pooling("max_pool2d", x, y, shape);
  return y;
}

Tensor avg_pool2d(const Tensor& x, const Pool2dOptions& options) {
  const OpTimer timer("avg_pool2d");
  const Pool2dShape shape = make_shape("avg_pool2d", x, options);
  Tensor y = visit_floating(x.dtype(), "avg_pool2d", [&]<typename T>(T) {
    Tensor result = Tensor::empty({shape.n, shape.p, shape.q, shape.c}, x.dtype(), x.device());
    kernels::avg_pool2d_forward(x.device(), result.mutable_data<T>(), x.data<T>(), shape);
    return result;
  });
  record_as<AvgPool2dBackward>(y, {&x}, shape);
  trace_pooling("avg_pool2d", x, y, shape);
  return y;
}

Tensor global_avg_pool(const Tensor& x) {
  const OpTimer timer("global_avg_pool");
  check_rank("global_avg_pool", "input", x, 4);
  const std::int64_t n = x.size(0), pixels = x.size(1) * x.size(2), c = x.size(3);
  if (pixels == 0) throw Error(format_text("global_avg_pool: no pixels in {}", describe(x)));
  Tensor y = visit_floating(x.dtype(), "global_avg_pool", [&]<typename T>(T) {
    Tensor result = Tensor::empty({n, c}, x.dtype(), x.device());
    kernels::global_avg_pool_forward(x.device(), result.mutable_data<T>(), x.data<T>(), n, pixels,
                                     c);
    return result;
  });
  record<GlobalAvgPoolBackward>(y, x);
  if (auto* const trace = TraceScope::current()) trace->add({"global_avg_pool", {x}, y});
  return y;
}

}  // namespace attune
