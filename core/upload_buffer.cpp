#include "attune/core/upload_buffer.h"

#include <cstring>

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/kernels/cuda/backend.h"

namespace attune {

struct UploadBuffer::Copy {
  explicit Copy(std::int64_t bytes) : upload(bytes) {}
  kernels::cuda::Upload upload;
};

UploadBuffer::UploadBuffer(Device device) : device_(device) {}
UploadBuffer::~UploadBuffer() = default;

void UploadBuffer::send(const Tensor& source) {
  if (!source.defined() || source.device() != Device::cpu) {
    throw Error(format_text("upload: {} is not on the CPU", describe(source)));
  }
  if (device_.type != DeviceType::cuda || source.count() == 0) {
    tensor_ = source.to(device_);
    return;
  }
  kernels::cuda::use_device(device_.index, "upload");
  if (!tensor_.defined() || tensor_.shape() != source.shape() ||
      tensor_.dtype() != source.dtype()) {
    copy_.reset();
    tensor_ = Tensor::empty(source.shape(), source.dtype(), device_);
    copy_ = std::make_unique<Copy>(source.bytes());
  }
  std::memcpy(copy_->upload.host(), source.storage().data(),
              static_cast<std::size_t>(source.bytes()));
  tensor_.storage().bump_version();
  copy_->upload.begin(tensor_.storage().data());
}

Tensor UploadBuffer::receive() {
  if (copy_) {
    kernels::cuda::use_device(device_.index, "upload");
    copy_->upload.end();
  }
  return tensor_;
}

}  // namespace attune
