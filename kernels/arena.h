#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace attune::kernels {

/// Which parts of one range of memory are in use: the bookkeeping of an allocator, which knows
/// offsets and no memory. Best fit: what is asked for is cut from the smallest free part that holds
/// it, the first of several. What is released becomes one with the free parts beside it. So the
/// tensors of a training step, which come and go in the order of a stack but for a few, leave
/// hardly any gaps. The range grows at its end. Not thread-safe.
class Arena {
 public:
  /// Offsets and sizes are multiples of it: rows of 32 lanes that read 16 bytes each.
  static constexpr std::int64_t kGrain = 512;
  /// The bytes in use by an allocation of `bytes`: up to the next grain.
  static constexpr std::int64_t rounded(std::int64_t bytes) {
    return (bytes + kGrain - 1) / kGrain * kGrain;
  }

  /// Where `bytes` > 0 have been given room; nothing if no free part is large enough.
  std::optional<std::int64_t> allocate(std::int64_t bytes);
  /// Takes back what allocate(bytes) returned.
  void release(std::int64_t offset, std::int64_t bytes);

  /// Adds `bytes`, a multiple of kGrain, at the end.
  void grow(std::int64_t bytes);
  /// Takes them away again; at most free_at_end().
  void shrink(std::int64_t bytes);
  /// The size of the free part that reaches to the end.
  std::int64_t free_at_end() const;

  std::int64_t size() const { return size_; }
  std::int64_t in_use() const { return in_use_; }

 private:
  void add_free(std::int64_t offset, std::int64_t bytes);
  void remove_free(std::int64_t offset, std::int64_t bytes);

  // The free parts, twice: their sizes by offset, and (size, offset) by size.
  std::map<std::int64_t, std::int64_t> by_offset_;
  std::set<std::pair<std::int64_t, std::int64_t>> by_size_;
  std::int64_t size_ = 0;
  std::int64_t in_use_ = 0;
};

}  // namespace attune::kernels
