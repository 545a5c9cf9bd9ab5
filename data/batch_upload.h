#pragma once

#include <array>
#include <exception>
#include <functional>
#include <optional>

#include "attune/core/upload_buffer.h"
#include "attune/data/data_loader.h"

namespace attune {

/// Takes batches to a device, each while the device still computes with the one before.
class BatchUpload {
 public:
  explicit BatchUpload(Device device);

  /// The next of the batches that `prepare` gives, one a call, until it gives none. An exception of
  /// `prepare` is thrown when the turn of its batch has come.
  std::optional<Batch> next(const std::function<std::optional<Batch>()>& prepare);

 private:
  struct Slot {
    explicit Slot(Device device) : images(device), targets(device) {}

    UploadBuffer images, targets;
    std::optional<Batch> batch;  // under way to the device
    std::exception_ptr error;
  };

  static void send(Slot& slot, const std::function<std::optional<Batch>()>& prepare);

  std::array<Slot, 2> slots_;
  std::size_t turn_ = 0;
  bool begun_ = false;
};

}  // namespace attune
