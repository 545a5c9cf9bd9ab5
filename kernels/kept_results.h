#pragma once

#include <cstdint>
#include <memory>
#include <optional>

// What is computed from a block of bytes, and then from nothing else for as long as these do not
// change, need not be computed again: the packed form of a filter, say. Such results are kept here
// by the block's address, one for each block, for whoever comes next.
//
// Whoever owns a block drops its result when the bytes change, and before they go.
namespace attune::kernels {

/// A number that tells the content of a block from any other: a kernel that is given one may keep
/// results, one that is given none may not.
using ContentVersion = std::optional<std::uint64_t>;

/// Derive from it whatever is kept, and say in it of what content and how it was made: it is for
/// who finds a result to see whether it is the one that he needs.
struct KeptResult {
  KeptResult() = default;
  virtual ~KeptResult();
  KeptResult(const KeptResult&) = delete;
  KeptResult& operator=(const KeptResult&) = delete;
};

/// What is kept for the block at `source`, or null. Like all of these, thread-safe: a result that
/// is dropped lives on until nobody uses it any more.
std::shared_ptr<const KeptResult> kept_result(const void* source);
/// Keeps `result`, in place of what was kept for that block.
void keep_result(const void* source, std::shared_ptr<const KeptResult> result);
void drop_kept_result(const void* source) noexcept;
/// Drops those of all blocks; release_idle_memory() calls it.
void drop_kept_results() noexcept;

}  // namespace attune::kernels
