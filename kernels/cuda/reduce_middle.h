#pragma once

#include <algorithm>
#include <cstdint>

#include "attune/kernels/cuda/backend.h"
#include "attune/kernels/cuda/parallel.h"
#include "attune/kernels/memory.h"

// Reductions of something [outer, middle, inner] over the middle: sums over pixels, rows, or
// everything. Partial results are combined in an order that depends on the shape alone, and nowhere
// by atomics, so that results are the same bits every time.
namespace attune::kernels::cuda {

/// The partial result of a sum: add() joins two. The default one is that of no elements.
struct Sum {
  double value = 0;

  __device__ void add(const Sum& other) { value += other.value; }
};

/// How a reduction is cut up.
struct ReductionShape {
  std::int64_t outer, middle, inner;

  std::int64_t outputs() const { return outer * inner; }

  /// Neighbouring outputs, neighbours in memory, that one block computes: a power of two.
  unsigned columns() const {
    unsigned columns = 1;
    while (columns < 32 && columns < inner) columns *= 2;
    return columns;
  }

  /// Pieces of the middle, each for a block of its own. One thread should have at least 16 elements
  /// to add, and some thousand blocks are enough to fill any GPU.
  std::int64_t slices() const {
    const std::int64_t rows = kThreads / columns();
    const std::int64_t blocks = outer * ((inner + columns() - 1) / columns());
    const std::int64_t wanted = std::max<std::int64_t>(1, 1024 / std::max<std::int64_t>(1, blocks));
    return std::clamp<std::int64_t>(middle / (16 * rows), 1, wanted);
  }
};

template <typename Value>
struct ReductionScratch {
  Value of_thread[kThreads];
};

// A block computes `columns` outputs from one slice of the middle: threads that differ in column
// read neighbouring elements, those that differ in row take every rows-th element of the middle.
// Grid: (blocks of columns, slices, outer).
template <typename Value, typename Load, typename Store>
__global__ void reduce_middle_kernel(std::int64_t middle, std::int64_t inner, unsigned columns,
                                     Load load, Store store) {
  auto& scratch = shared_memory<ReductionScratch<Value>>();
  const unsigned column = threadIdx.x % columns;
  const unsigned row = threadIdx.x / columns;
  const unsigned rows = kThreads / columns;
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * columns + column;
  const std::int64_t slices = gridDim.y;
  const std::int64_t slice = blockIdx.y;
  const std::int64_t o = blockIdx.z;
  const std::int64_t first = middle * slice / slices;
  const std::int64_t last = middle * (slice + 1) / slices;

  Value value;
  if (i < inner) {
    for (std::int64_t m = first + row; m < last; m += rows) load(value, o, m, i);
  }
  scratch.of_thread[threadIdx.x] = value;
  for (unsigned half = rows / 2; half > 0; half /= 2) {
    __syncthreads();
    if (row < half) {
      scratch.of_thread[threadIdx.x].add(scratch.of_thread[threadIdx.x + half * columns]);
    }
  }
  if (row == 0 && i < inner) store(slice, o * inner + i, scratch.of_thread[threadIdx.x]);
}

/// For each of the outer * inner outputs: calls load(value, o, m, i), which adds element [o, m, i]
/// to a Value, for every m, and then store(o * inner + i, value). Both are __device__ lambdas;
/// `Value` is something like Sum.
template <typename Value, typename Load, typename Store>
void reduce_middle(const ReductionShape& shape, const Load& load, const Store& store) {
  if (shape.outputs() == 0) return;
  const unsigned columns = shape.columns();
  const std::int64_t slices = shape.slices();
  const std::int64_t outputs = shape.outputs();
  const dim3 grid(static_cast<unsigned>((shape.inner + columns - 1) / columns),
                  static_cast<unsigned>(slices), 1);
  // The third extent of a grid is limited, so `outer` is worked off in several grids if need be.
  constexpr std::int64_t kMostOuter = 65535;
  const Workspace<Value> partials(slices > 1 ? slices * outputs : 0,
                                  Device::cuda(current_device()));
  Value* partial = partials.data();
  for (std::int64_t begin = 0; begin < shape.outer; begin += kMostOuter) {
    dim3 part = grid;
    part.z = static_cast<unsigned>(std::min(kMostOuter, shape.outer - begin));
    auto load_part = [=] __device__(Value & value, std::int64_t o, std::int64_t m, std::int64_t i) {
      load(value, begin + o, m, i);
    };
    auto store_part = [=, inner = shape.inner] __device__(std::int64_t slice, std::int64_t output,
                                                          const Value& value) {
      const std::int64_t position = begin * inner + output;
      if (partial != nullptr) {
        partial[slice * outputs + position] = value;
      } else {
        store(position, value);
      }
    };
    launch(reduce_middle_kernel<Value, decltype(load_part), decltype(store_part)>, part, kThreads,
           sizeof(ReductionScratch<Value>), stream(), shape.middle, shape.inner, columns, load_part,
           store_part);
  }
  if (slices == 1) return;
  for_each(outputs, [=] __device__(std::int64_t i) {
    Value value = partial[i];
    for (std::int64_t slice = 1; slice < slices; ++slice) value.add(partial[slice * outputs + i]);
    store(i, value);
  });
}

}  // namespace attune::kernels::cuda
