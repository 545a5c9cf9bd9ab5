#include "attune/kernels/kept_results.h"

#include <mutex>
#include <unordered_map>
#include <utility>

namespace attune::kernels {
namespace {

using Results = std::unordered_map<const void*, std::shared_ptr<const KeptResult>>;

struct Table {
  std::mutex mutex;
  Results results;
};

/// Never destroyed: tensors of static storage duration are released after everything else.
Table& table() {
  static Table& instance = *new Table;
  return instance;
}

}  // namespace

KeptResult::~KeptResult() = default;

std::shared_ptr<const KeptResult> kept_result(const void* source) {
  const std::lock_guard lock(table().mutex);
  const auto found = table().results.find(source);
  return found == table().results.end() ? nullptr : found->second;
}

// What goes may hold tensors that have results of their own: it must outlive the lock.

void keep_result(const void* source, std::shared_ptr<const KeptResult> result) {
  const std::lock_guard lock(table().mutex);
  table().results[source].swap(result);
}

void drop_kept_result(const void* source) noexcept {
  std::shared_ptr<const KeptResult> dropped;
  const std::lock_guard lock(table().mutex);
  const auto found = table().results.find(source);
  if (found == table().results.end()) return;
  dropped = std::move(found->second);
  table().results.erase(found);
}

void drop_kept_results() noexcept {
  Results dropped;
  const std::lock_guard lock(table().mutex);
  dropped.swap(table().results);
}

}  // namespace attune::kernels
