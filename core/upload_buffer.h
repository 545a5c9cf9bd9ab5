#pragma once

#include <memory>

#include "attune/core/tensor.h"

namespace attune {

/// Sends one tensor after the other from the CPU to a device, while the device computes. Two of
/// them that take turns keep a GPU supplied: while it works on what one has received, the other
/// sends.
///
///     buffer.send(batch);                  // begins to copy, and returns
///     ...
///     loss(net(buffer.receive()), ...);    // runs after the copy; nobody waits here
///
/// A GPU reads from pinned memory, where send() puts the elements first, on a stream beside the one
/// that operations run on. To the CPU nothing is copied. For one thread.
class UploadBuffer {
 public:
  explicit UploadBuffer(Device device);
  ~UploadBuffer();
  UploadBuffer(const UploadBuffer&) = delete;
  UploadBuffer& operator=(const UploadBuffer&) = delete;

  /// Begins to send `source`, which is on the CPU; it may be changed when this returns. Waits only
  /// for the copy that this buffer sent before. The tensor that receive() gave before is
  /// overwritten, after the operations that have used it so far.
  void send(const Tensor& source);
  /// What was sent, on the device. The same tensor each time, as long as its shape does not change.
  Tensor receive();

 private:
  struct Copy;

  Device device_;
  Tensor tensor_;
  std::unique_ptr<Copy> copy_;  // to a GPU; goes before the tensor that it fills
};

}  // namespace attune
