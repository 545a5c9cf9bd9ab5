#include "attune/data/batch_upload.h"

#include <utility>

namespace attune {

BatchUpload::BatchUpload(Device device) : slots_{Slot(device), Slot(device)} {}

void BatchUpload::send(Slot& slot, const std::function<std::optional<Batch>()>& prepare) {
  try {
    slot.batch = prepare();
    if (!slot.batch) return;
    slot.images.send(std::exchange(slot.batch->images, {}));
    slot.targets.send(std::exchange(slot.batch->targets, {}));
  } catch (...) {
    slot.batch.reset();
    slot.error = std::current_exception();
  }
}

std::optional<Batch> BatchUpload::next(const std::function<std::optional<Batch>()>& prepare) {
  Slot& now = slots_[turn_];
  if (!std::exchange(begun_, true)) send(now, prepare);
  if (now.error) std::rethrow_exception(std::exchange(now.error, nullptr));
  if (!now.batch) return std::nullopt;
  turn_ = 1 - turn_;
  send(slots_[turn_], prepare);
  Batch batch = *std::exchange(now.batch, std::nullopt);
  batch.images = now.images.receive();
  batch.targets = now.targets.receive();
  return batch;
}

}  // namespace attune
