#include "attune/kernels/cpu/conv2d.h"

#include <Eigen/Core>
#include <algorithm>

#include "attune/kernels/cpu/conv2d_depthwise.h"
#include "attune/kernels/cpu/conv2d_epilogue.h"
#include "attune/kernels/cpu/parallel.h"
#include "attune/kernels/memory.h"

// Convolution as matrix products. What one output pixel sees through the filter is a row of a
// matrix of patches [pixels, R * S * C/groups]; then, group by group,
//
//     forward           y       = patches * w^T          w seen as [K/groups, R * S * C/groups]
//     backward_input    patches = dy * w                 then summed back to the pixels (col2im)
//     backward_weight   dw      = dy^T * patches
//
// The matrix of patches is R * S times as large as x, so it only ever exists for a block of
// pixels, in scratch that stays in the cache of one core.

namespace attune::kernels::cpu {
namespace {

template <typename T>
using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <typename T>
using View = Eigen::Map<Matrix<T>, Eigen::Unaligned, Eigen::OuterStride<>>;
template <typename T>
using ConstView = Eigen::Map<const Matrix<T>, Eigen::Unaligned, Eigen::OuterStride<>>;

/// A [rows, columns] matrix whose rows start `stride` elements apart.
template <typename T>
View<T> view(T* data, std::int64_t rows, std::int64_t columns, std::int64_t stride) {
  return {data, rows, columns, Eigen::OuterStride<>(stride)};
}
template <typename T>
ConstView<T> view(const T* data, std::int64_t rows, std::int64_t columns, std::int64_t stride) {
  return {data, rows, columns, Eigen::OuterStride<>(stride)};
}

// Scratch is sized by the shape alone: memory statistics do not depend on the number of threads,
// and a thread that does not exist touches none of its share.
constexpr std::int64_t kMaxWorkers = 16;
constexpr std::int64_t kPatchBytes = 128 << 10;      // with Eigen's packed copy, fits a small L2
constexpr std::int64_t kMaxPatchBytes = 2 << 20;     // where a single patch is large
constexpr std::int64_t kMaxPartialBytes = 32 << 20;  // all partial filters of backward_weight

/// Columns of the matrix of patches.
std::int64_t patch_size(const Conv2dShape& shape) {
  return shape.r * shape.s * shape.channels_per_group();
}

/// Pixels in a block: as many as fit the cache, but enough to be worth reading the filter for.
template <typename T>
std::int64_t block_rows(const Conv2dShape& shape) {
  constexpr std::int64_t kWorthwhile = 64;
  const auto bytes = static_cast<std::int64_t>(sizeof(T)) * patch_size(shape);
  const std::int64_t rows = std::max(kPatchBytes / bytes, kWorthwhile);
  return std::max<std::int64_t>(1, std::min({rows, kMaxPatchBytes / bytes, shape.output_pixels()}));
}

/// A 1x1 convolution of stride 1: x is the matrix of patches already.
bool is_pointwise(const Conv2dShape& shape) {
  return shape.r == 1 && shape.s == 1 && shape.stride_h == 1 && shape.stride_w == 1 &&
         shape.pad_h == 0 && shape.pad_w == 0;
}

/// Walks through the patches that output pixels `pixels` (counted through the whole batch) see of
/// one group, row after row, calling visit(offset, count) for each run of elements that are
/// neighbours in x too: `offset` is the position of the first in x, or -1 for a run of padding.
template <typename Visit>
void walk_patches(const Conv2dShape& shape, std::int64_t group, Range pixels, const Visit& visit) {
  const std::int64_t channels = shape.channels_per_group();
  // All channels of neighbouring pixels: the taps of a filter row are a single run.
  const bool merged = shape.groups == 1 && shape.dilation_w == 1;
  std::int64_t q = pixels.first % shape.q;
  std::int64_t p = pixels.first / shape.q % shape.p;
  std::int64_t n = pixels.first / (shape.q * shape.p);
  for (std::int64_t i = pixels.first; i < pixels.last; ++i) {
    const std::int64_t w = q * shape.stride_w - shape.pad_w;  // of the first tap
    for (std::int64_t r = 0; r < shape.r; ++r) {
      const std::int64_t h = p * shape.stride_h - shape.pad_h + r * shape.dilation_h;
      const std::int64_t row = (n * shape.h + h) * shape.w * shape.c + group * channels;
      if (h < 0 || h >= shape.h) {
        visit(std::int64_t{-1}, shape.s * channels);
      } else if (merged) {
        const std::int64_t begin = std::clamp<std::int64_t>(-w, 0, shape.s);
        const std::int64_t end = std::clamp(shape.w - w, begin, shape.s);
        if (begin > 0) visit(std::int64_t{-1}, begin * channels);
        if (end > begin) visit(row + (w + begin) * shape.c, (end - begin) * channels);
        if (end < shape.s) visit(std::int64_t{-1}, (shape.s - end) * channels);
      } else {
        for (std::int64_t s = 0; s < shape.s; ++s) {
          const std::int64_t tap = w + s * shape.dilation_w;
          const bool inside = tap >= 0 && tap < shape.w;
          visit(inside ? row + tap * shape.c : -1, channels);
        }
      }
    }
    if (++q == shape.q) {
      q = 0;
      if (++p == shape.p) {
        p = 0;
        ++n;
      }
    }
  }
}

/// The patches [pixels, patch_size] of one group, as a view of x where possible, else gathered
/// into `scratch`.
template <typename T>
ConstView<T> gather_patches(T* scratch, const T* x, const Conv2dShape& shape, std::int64_t group,
                            Range pixels) {
  const std::int64_t channels = shape.channels_per_group();
  if (is_pointwise(shape)) {
    return view(x + pixels.first * shape.c + group * channels, pixels.size(), channels, shape.c);
  }
  T* out = scratch;
  walk_patches(shape, group, pixels, [&](std::int64_t offset, std::int64_t count) {
    if (offset < 0) {
      std::fill_n(out, count, T(0));
    } else {
      const T* in = x + offset;
#pragma omp simd
      for (std::int64_t i = 0; i < count; ++i) out[i] = in[i];
    }
    out += count;
  });
  const T* gathered = scratch;
  return view(gathered, pixels.size(), patch_size(shape), patch_size(shape));
}

/// The adjoint of gather_patches: adds every element of the patches to the pixel it came from.
template <typename T>
void scatter_patches(T* dx, const T* patches, const Conv2dShape& shape, std::int64_t group,
                     Range pixels) {
  const T* in = patches;
  walk_patches(shape, group, pixels, [&](std::int64_t offset, std::int64_t count) {
    if (offset >= 0) {
      T* out = dx + offset;
#pragma omp simd
      for (std::int64_t i = 0; i < count; ++i) out[i] += in[i];
    }
    in += count;
  });
}

/// Group `group` of the filter as a matrix [K/groups, R * S * C/groups].
template <typename T>
auto filter_matrix(T* w, const Conv2dShape& shape, std::int64_t group) {
  const std::int64_t rows = shape.filters_per_group(), columns = patch_size(shape);
  return view(w + group * rows * columns, rows, columns, columns);
}

/// Group `group` of some output pixels as a matrix [pixels, K/groups].
template <typename T>
auto output_matrix(T* y, const Conv2dShape& shape, std::int64_t group, Range pixels) {
  const std::int64_t columns = shape.filters_per_group();
  return view(y + pixels.first * shape.k + group * columns, pixels.size(), columns, shape.k);
}

}  // namespace

template <typename T>
void conv2d_forward(T* y, const T* x, const T* w, const Conv2dShape& shape,
                    const Conv2dEpilogue<T>& epilogue) {
  if (is_depthwise(shape)) return conv2d_depthwise_forward(y, x, w, shape, epilogue);

  const std::int64_t rows = block_rows<T>(shape);
  const std::int64_t blocks = ceil_div(shape.output_pixels(), rows);
  const std::int64_t workers = std::min(blocks, kMaxWorkers);
  const std::int64_t scratch_size = is_pointwise(shape) ? 0 : rows * patch_size(shape);
  const Workspace<T> scratch(workers * scratch_size);

  parallel_for_workers(blocks, workers, [&](std::int64_t block, std::int64_t worker) {
    const Range pixels{block * rows, std::min((block + 1) * rows, shape.output_pixels())};
    begin_epilogue(y, pixels.first, pixels.size(), shape.k, epilogue);
    for (std::int64_t g = 0; g < shape.groups; ++g) {
      const auto patches =
          gather_patches(scratch.data() + worker * scratch_size, x, shape, g, pixels);
      output_matrix(y, shape, g, pixels).noalias() +=
          patches * filter_matrix(w, shape, g).transpose();
    }
    finish_epilogue(y, pixels.first, pixels.size(), shape.k, epilogue);
  });
}

template <typename T>
void conv2d_backward_input(T* dx, const T* dy, const T* w, const Conv2dShape& shape,
                           const Conv2dEpilogue<T>& epilogue) {
  if (is_depthwise(shape)) return conv2d_depthwise_backward_input(dx, dy, w, shape, epilogue);

  if (is_pointwise(shape)) {
    const std::int64_t rows = block_rows<T>(shape);
    parallel_for_ranges(shape.output_pixels(), rows, [&](Range pixels) {
      begin_epilogue(dx, pixels.first, pixels.size(), shape.c, epilogue);
      for (std::int64_t g = 0; g < shape.groups; ++g) {
        const std::int64_t channels = shape.channels_per_group();
        view(dx + pixels.first * shape.c + g * channels, pixels.size(), channels, shape.c)
            .noalias() += output_matrix(dy, shape, g, pixels) * filter_matrix(w, shape, g);
      }
      finish_epilogue(dx, pixels.first, pixels.size(), shape.c, epilogue);
    });
    return;
  }

  // Patches of neighbouring blocks overlap, but never those of two images: one thread an image.
  const std::int64_t in_pixels = shape.h * shape.w, out_pixels = shape.p * shape.q;
  const std::int64_t rows = std::min(block_rows<T>(shape), out_pixels);
  const std::int64_t workers = std::min(shape.n, kMaxWorkers);
  const std::int64_t scratch_size = rows * patch_size(shape);
  const Workspace<T> scratch(workers * scratch_size);

  parallel_for_workers(shape.n, workers, [&](std::int64_t n, std::int64_t worker) {
    T* patches = scratch.data() + worker * scratch_size;
    begin_epilogue(dx, n * in_pixels, in_pixels, shape.c, epilogue);
    for (std::int64_t first = n * out_pixels; first < (n + 1) * out_pixels; first += rows) {
      const Range pixels{first, std::min(first + rows, (n + 1) * out_pixels)};
      for (std::int64_t g = 0; g < shape.groups; ++g) {
        view(patches, pixels.size(), patch_size(shape), patch_size(shape)).noalias() =
            output_matrix(dy, shape, g, pixels) * filter_matrix(w, shape, g);
        scatter_patches(dx, patches, shape, g, pixels);
      }
    }
    finish_epilogue(dx, n * in_pixels, in_pixels, shape.c, epilogue);
  });
}

template <typename T>
void conv2d_backward_weight(T* dw, const T* x, const T* dy, const Conv2dShape& shape,
                            bool accumulate) {
  if (is_depthwise(shape)) return conv2d_depthwise_backward_weight(dw, x, dy, shape, accumulate);

  // Slices of the batch sum into filters of their own; the first one uses dw itself.
  const std::int64_t count = shape.filter_count(), rows = block_rows<T>(shape);
  const std::int64_t blocks = ceil_div(shape.output_pixels(), rows);
  const std::int64_t affordable = 1 + kMaxPartialBytes / (count * static_cast<int>(sizeof(T)));
  const std::int64_t slices = std::min({blocks, affordable, kMaxWorkers});
  const std::int64_t scratch_size = is_pointwise(shape) ? 0 : rows * patch_size(shape);
  const Workspace<T> scratch(slices * scratch_size);
  const Workspace<T> partials((slices - 1) * count);

  parallel_for_workers(slices, slices, [&](std::int64_t slice, std::int64_t worker) {
    T* sum = slice == 0 ? dw : partials.data() + (slice - 1) * count;
    if (slice > 0 || !accumulate) std::fill_n(sum, count, T(0));
    const Range range = piece(shape.output_pixels(), slices, slice);
    for (std::int64_t first = range.first; first < range.last; first += rows) {
      const Range pixels{first, std::min(first + rows, range.last)};
      for (std::int64_t g = 0; g < shape.groups; ++g) {
        const auto patches =
            gather_patches(scratch.data() + worker * scratch_size, x, shape, g, pixels);
        filter_matrix(sum, shape, g).noalias() +=
            output_matrix(dy, shape, g, pixels).transpose() * patches;
      }
    }
  });

  constexpr std::int64_t kGrain = 4096;
  parallel_for_ranges(count, kGrain, [&](Range range) {
    for (std::int64_t slice = 1; slice < slices; ++slice) {
      const T* partial = partials.data() + (slice - 1) * count;
#pragma omp simd
      for (std::int64_t i = range.first; i < range.last; ++i) dw[i] += partial[i];
    }
  });
}

template <typename T>
void conv2d_backward_bias(T* db, const T* dy, std::int64_t pixels, std::int64_t channels,
                          bool accumulate) {
  constexpr std::int64_t kMinRows = 256;
  const std::int64_t slices = std::clamp<std::int64_t>(pixels / kMinRows, 1, kMaxWorkers);
  const Workspace<double> partials(slices * channels);

  parallel_for(slices, [&](std::int64_t slice) {
    double* sum = partials.data() + slice * channels;
    std::fill_n(sum, channels, 0.0);
    const Range range = piece(pixels, slices, slice);
    for (std::int64_t i = range.first; i < range.last; ++i) {
      const T* row = dy + i * channels;
#pragma omp simd
      for (std::int64_t c = 0; c < channels; ++c) sum[c] += static_cast<double>(row[c]);
    }
  });

  for (std::int64_t c = 0; c < channels; ++c) {
    double sum = accumulate ? static_cast<double>(db[c]) : 0.0;
    for (std::int64_t slice = 0; slice < slices; ++slice) {
      sum += partials.data()[slice * channels + c];
    }
    db[c] = static_cast<T>(sum);
  }
}

template void conv2d_forward(float*, const float*, const float*, const Conv2dShape&,
                             const Conv2dEpilogue<float>&);
template void conv2d_forward(double*, const double*, const double*, const Conv2dShape&,
                             const Conv2dEpilogue<double>&);
template void conv2d_backward_input(float*, const float*, const float*, const Conv2dShape&,
                                    const Conv2dEpilogue<float>&);
template void conv2d_backward_input(double*, const double*, const double*, const Conv2dShape&,
                                    const Conv2dEpilogue<double>&);
template void conv2d_backward_weight(float*, const float*, const float*, const Conv2dShape&, bool);
template void conv2d_backward_weight(double*, const double*, const double*, const Conv2dShape&,
                                     bool);
template void conv2d_backward_bias(float*, const float*, std::int64_t, std::int64_t, bool);
template void conv2d_backward_bias(double*, const double*, std::int64_t, std::int64_t, bool);

}  // namespace attune::kernels::cpu
