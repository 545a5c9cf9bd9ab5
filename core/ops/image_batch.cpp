#include "attune/core/ops/image_batch.h"

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/profile.h"

namespace attune {
namespace {

constexpr const char* kOp = "make_image_batch";

void check(const char* argument, const Tensor& tensor, const Shape& shape, DType dtype,
           Device device) {
  if (tensor.defined() && tensor.shape() == shape && tensor.dtype() == dtype &&
      tensor.device() == device) {
    return;
  }
  throw Error(format_text("{}: {} must be {} {} on {}, but is {}", kOp, argument, to_string(dtype),
                          to_string(shape), to_string(device), describe(tensor)));
}

}  // namespace

void make_image_batch(Tensor& images, Tensor& targets, const Tensor& pixels, const Tensor& labels,
                      const Tensor& order, std::int64_t first,
                      kernels::ImageBatchSettings settings) {
  const OpTimer timer(kOp);
  check_rank(kOp, "images", images, 4);
  check_rank(kOp, "pixels", pixels, 4);
  check_rank(kOp, "order", order, 1);
  const Device device = pixels.device();
  const std::int64_t count = images.size(0);
  settings.height = pixels.size(1);
  settings.width = pixels.size(2);
  settings.channels = pixels.size(3);
  if (settings.channels > kernels::ImageBatchSettings::kMaxChannels) {
    throw Error(format_text("{}: pixels {} have more than {} channels", kOp, describe(pixels),
                            kernels::ImageBatchSettings::kMaxChannels));
  }
  if (first < 0 || first > order.size(0) - count) {
    throw Error(format_text("{}: {} images from position {} on, but there are {} in the order", kOp,
                            count, first, order.size(0)));
  }
  check("images", images, {count, settings.height, settings.width, settings.channels},
        images.dtype(), device);
  check("targets", targets, {count}, DType::int64, device);
  check("pixels", pixels, pixels.shape(), DType::uint8, device);
  check("labels", labels, {pixels.size(0)}, DType::int64, device);
  check("order", order, order.shape(), DType::int64, device);
  visit_floating(images.dtype(), kOp, [&]<typename T>(T) {
    const auto* indices = order.data<std::int64_t>();
    kernels::make_image_batch(device, images.mutable_data<T>(),
                              targets.mutable_data<std::int64_t>(), pixels.data<std::uint8_t>(),
                              labels.data<std::int64_t>(),
                              device == Device::meta ? nullptr : indices + first, count, settings);
  });
}

}  // namespace attune
