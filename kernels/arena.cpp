#include "attune/kernels/arena.h"

#include <iterator>

namespace attune::kernels {

void Arena::add_free(std::int64_t offset, std::int64_t bytes) {
  const auto next = by_offset_.lower_bound(offset);
  if (next != by_offset_.end() && next->first == offset + bytes) {
    const std::int64_t more = next->second;
    remove_free(offset + bytes, more);
    bytes += more;
  }
  const auto after = by_offset_.lower_bound(offset);
  if (after != by_offset_.begin()) {
    const auto [before, less] = *std::prev(after);
    if (before + less == offset) {
      remove_free(before, less);
      offset = before;
      bytes += less;
    }
  }
  by_offset_.emplace(offset, bytes);
  by_size_.emplace(bytes, offset);
}

void Arena::remove_free(std::int64_t offset, std::int64_t bytes) {
  by_offset_.erase(offset);
  by_size_.erase({bytes, offset});
}

std::optional<std::int64_t> Arena::allocate(std::int64_t bytes) {
  bytes = rounded(bytes);
  const auto best = by_size_.lower_bound({bytes, 0});
  if (best == by_size_.end()) return std::nullopt;
  const auto [free, offset] = *best;
  remove_free(offset, free);
  if (free > bytes) add_free(offset + bytes, free - bytes);
  in_use_ += bytes;
  return offset;
}

void Arena::release(std::int64_t offset, std::int64_t bytes) {
  bytes = rounded(bytes);
  in_use_ -= bytes;
  add_free(offset, bytes);
}

void Arena::grow(std::int64_t bytes) {
  add_free(size_, bytes);
  size_ += bytes;
}

void Arena::shrink(std::int64_t bytes) {
  const auto [offset, free] = *std::prev(by_offset_.end());
  remove_free(offset, free);
  size_ -= bytes;
  if (free > bytes) add_free(offset, free - bytes);
}

std::int64_t Arena::free_at_end() const {
  if (by_offset_.empty()) return 0;
  const auto [offset, free] = *std::prev(by_offset_.end());
  return offset + free == size_ ? free : 0;
}

}  // namespace attune::kernels
