#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

#include "attune/kernels/threads.h"

// How CPU kernels use threads. Work is cut into pieces by the shapes alone, never by the number of
// threads, and whatever the pieces sum is added up in the order of the pieces: so results are
// bit-identical for any number of threads.
namespace attune::kernels::cpu {

/// The most threads that a kernel with scratch for each of them uses: scratch is sized by the shape
/// alone, like all else.
inline constexpr std::int64_t kMaxWorkers = 16;

/// A half-open interval of indices.
struct Range {
  std::int64_t first = 0, last = 0;

  std::int64_t size() const { return last - first; }
};

/// Piece `i` of `pieces` nearly equal ones of [0, count).
inline Range piece(std::int64_t count, std::int64_t pieces, std::int64_t i) {
  const std::int64_t size = count / pieces, longer = count % pieces;
  const std::int64_t first = i * size + std::min(i, longer);
  return {first, first + size + (i < longer ? 1 : 0)};
}

/// `count` / `size`, rounded up.
inline std::int64_t ceil_div(std::int64_t count, std::int64_t size) {
  return (count + size - 1) / size;
}

/// Calls body(i, worker) for every i in [0, count), on up to `workers` threads at a time. `worker`
/// is below min(workers, count) and no two calls with the same one overlap: it names the scratch to
/// use. `body` must not throw.
template <typename Body>
void parallel_for_workers(std::int64_t count, std::int64_t workers, const Body& body) {
  const auto threads = static_cast<int>(std::min<std::int64_t>({num_threads(), workers, count}));
  if (threads <= 1) {
    for (std::int64_t i = 0; i < count; ++i) body(i, std::int64_t{0});
    return;
  }
  // Neighbouring i share cache lines and pages, so they go to a thread in runs; short ones, that
  // one thread's delay does not keep the others waiting for long.
  const std::int64_t run = std::max<std::int64_t>(1, count / (32 * threads));
#pragma omp parallel for num_threads(threads) schedule(dynamic, run)
  for (std::int64_t i = 0; i < count; ++i) {
    body(i, static_cast<std::int64_t>(omp_get_thread_num()));
  }
}

/// Calls body(i) for every i in [0, count), neighbouring i on the same thread. `body` must not
/// throw.
template <typename Body>
void parallel_for(std::int64_t count, const Body& body) {
  const auto threads = static_cast<int>(std::min<std::int64_t>(num_threads(), count));
  if (threads <= 1) {
    for (std::int64_t i = 0; i < count; ++i) body(i);
    return;
  }
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t i = 0; i < count; ++i) body(i);
}

/// Calls body(range) for consecutive ranges of `grain` indices (the last may be shorter) that cover
/// [0, count).
template <typename Body>
void parallel_for_ranges(std::int64_t count, std::int64_t grain, const Body& body) {
  parallel_for(ceil_div(count, grain), [&](std::int64_t i) {
    body(Range{i * grain, std::min(count, (i + 1) * grain)});
  });
}

}  // namespace attune::kernels::cpu
