#include "attune/kernels/cpu/simd/direct.h"

#include <utility>

#include "attune/kernels/cpu/parallel.h"
#include "attune/kernels/cpu/simd/bias_gradient.h"
#include "attune/kernels/cpu/simd/pack.h"
#include "attune/kernels/memory.h"

// Direct convolution: a band of rows is packed, then multiplied row by row, tile by tile. How the
// passes see their operands is in conv2d_plan.h.

namespace attune::kernels::cpu::ATTUNE_ISA {
namespace {

/// How far apart the source's pixels may be to be read where they are: those of a tile are read
/// together, and if they were 2 or 4 KB apart they would fall into the same few sets of the L1
/// cache.
constexpr std::int64_t kMaxPixelBytes = 1 << 10;

/// The part of a source that the rows from `first` on of an image see: where it is, or else packed
/// into `scratch`.
template <typename T>
const T* source_band(T* scratch, const T* source, const Conv2dPlan& plan, std::int64_t image,
                     std::int64_t group, std::int64_t first, std::int64_t rows) {
  source += image * plan.height * plan.width * plan.pixel_stride + group * plan.channels;
  if (!plan.packs) return source + first * plan.lattice_row_size();
  pack_band(scratch, source, plan, first, rows);
  return scratch;
}

/// Calls body<kVectors>() for the vectors of output channels in a tile.
template <typename T, typename Body>
void with_vectors(std::int64_t out_channels, const Body& body) {
  out_channels > kLanes<T> ? body.template operator()<2>() : body.template operator()<1>();
}

/// The output of one chunk of runs, which goes on from the sums of those before. They are kept
/// where the result will be, or, since a residual is added only after a norm, in the norm's y.
template <typename T>
TileOutput<T> chunk_output(TileOutput<T> out, bool first, bool last) {
  Conv2dEpilogue<T>& e = out.epilogue;
  T* const sums = e.norm.y ? e.norm.y : out.y;
  if (!first) {
    out.sums = sums;
    e.bias = nullptr;
    if (!e.norm) e.residual = nullptr;
  }
  if (!last) {
    out.y = sums;
    if (e.norm) e.residual = nullptr;
    e.norm = {};
    e.relu = false;
    e.mask = nullptr;
  }
  return out;
}

/// One band of one image and group, all lattices and output channels. `image` is where the image's
/// first pixel is in `out`.
template <int kVectors, typename T>
void correlate_band(const Conv2dPlan& plan, const T* packed, const T* filter,
                    const TileOutput<T>& out, std::int64_t image, Range band) {
  constexpr std::int64_t kWidth = kVectors * kLanes<T>;
  const std::int64_t blocks = ceil_div(plan.out_channels, kWidth);
  for (const Lattice& lattice : plan.lattices) {
    const std::int64_t end = std::min(band.last, lattice.rows);
    const T* lattice_filter = filter + lattice.first_step * blocks * kWidth;
    for (std::size_t c = 0; c < lattice.chunks.size(); ++c) {
      const RunChunk& chunk = lattice.chunks[c];
      for (std::int64_t k = 0; k < blocks; ++k) {
        const TileOutput<T> block =
            chunk_output(out.from_channel(k * kWidth), c == 0, c + 1 == lattice.chunks.size());
        for (std::int64_t row = band.first; row < end; ++row) {
          const bool last_row = row == lattice.rows - 1;
          const std::int64_t pixel =
              (lattice.row + row * plan.out_row_step) * plan.out_width + lattice.column;
          multiply_row<kVectors>(packed + (row - band.first) * plan.lattice_row_size(),
                                 plan.lattice_column_size(),
                                 lattice_filter + (k * lattice.steps + chunk.first_step) * kWidth,
                                 lattice.runs.data() + chunk.first_run, chunk.run_count, block,
                                 image + pixel * plan.out_pixel_stride,
                                 lattice.columns - (last_row ? plan.missing_columns : 0));
        }
      }
    }
  }
}

/// out = epilogue(correlation of source with w): forward and backward-input alike.
template <typename T>
void correlate(T* out, const T* source, const Filter<T>& w, const Conv2dPlan& plan,
               const FilterStrides& strides, std::int64_t groups,
               const Conv2dEpilogue<T>& epilogue) {
  with_vectors<T>(plan.out_channels, [&]<int kVectors>() {
    constexpr std::int64_t kWidth = kVectors * kLanes<T>;
    const std::int64_t blocks = ceil_div(plan.out_channels, kWidth);
    const std::int64_t filter_size = blocks * plan.steps * kWidth;
    PreparedFilter<T> filters(w, groups * filter_size);
    if (!filters.is_ready()) {
      parallel_for(groups * blocks, [&](std::int64_t i) {
        const std::int64_t group = i / blocks, k = i % blocks;
        for (const Lattice& lattice : plan.lattices) {
          pack_filter(filters.data() + group * filter_size +
                          (lattice.first_step * blocks + k * lattice.steps) * kWidth,
                      w.elements + group * strides.group, plan, lattice, strides, k * kWidth,
                      std::min(kWidth, plan.out_channels - k * kWidth), kWidth);
        }
      });
      filters.keep();
    }

    const std::int64_t out_count =
        plan.images * plan.out_height * plan.out_width * plan.out_pixel_stride;
    const bool is_far = out_count * static_cast<std::int64_t>(sizeof(T)) > kFarBytes;
    const std::int64_t units = plan.images * plan.bands * groups;
    const std::int64_t workers = std::min(units, kMaxWorkers);
    const Workspace<T> scratch(workers * plan.band_size());
    parallel_for_workers(units, workers, [&](std::int64_t unit, std::int64_t worker) {
      const std::int64_t group = unit % groups;
      const std::int64_t image = unit / groups / plan.bands;
      const std::int64_t first = unit / groups % plan.bands * plan.band_rows;
      const T* packed = source_band(scratch.data() + worker * plan.band_size(), source, plan, image,
                                    group, first, plan.band_rows);
      const TileOutput<T> all{.y = out,
                              .pixel_stride = plan.out_column_step * plan.out_pixel_stride,
                              .channels = (group + 1) * plan.out_channels,
                              .epilogue = epilogue,
                              .is_far = is_far};
      correlate_band<kVectors>(plan, packed, filters.data() + group * filter_size,
                               all.from_channel(group * plan.out_channels),
                               image * plan.out_height * plan.out_width * plan.out_pixel_stride,
                               Range{first, first + plan.band_rows});
    });
  });
}

/// The gradient of the filter, summed up in slices of the batch, each split by output channels if
/// the batch alone does not keep the threads busy. A slice has a packed filter of its own, and must
/// have pixels enough to be worth adding that up in the end.
template <int kVectors, typename T>
class DirectFilterGradient {
 public:
  DirectFilterGradient(const T* x, const T* dy, const Conv2dShape& shape, double* dy_sums)
      : x_(x),
        dy_(dy),
        shape_(shape),
        plan_(conv2d_forward_plan(shape, {sizeof(T), kMaxPixelBytes})),
        slices_(slices_of(plan_, filter_size() * static_cast<std::int64_t>(sizeof(T)))),
        parts_(parts_of_slice(slices_, blocks())),
        sums_(slices_ * filter_size()),
        scratch_(tasks() * scratch_size()),
        bias_(dy_sums, slices_, shape.k) {}

  /// A slice, or a part of its output channels.
  std::int64_t tasks() const { return slices_ * parts_; }

  void compute(std::int64_t task, std::int64_t worker) {
    const std::int64_t slice = task / parts_;
    const Range part = piece(blocks(), parts_, task % parts_);
    T* sums = sums_.data() + slice * filter_size();
    for (std::int64_t group = 0; group < shape_.groups; ++group) {
      std::fill_n(sums + group * group_size() + part.first * block_size(),
                  part.size() * block_size(), T(0));
    }
    T* scratch = scratch_.data() + worker * scratch_size();
    const Range units = piece(plan_.images * plan_.bands, slices_, slice);
    for (std::int64_t unit = units.first; unit < units.last; ++unit) {
      for (std::int64_t group = 0; group < shape_.groups; ++group) {
        add_band(sums + group * group_size(), scratch, unit, group, slice, part);
      }
    }
  }

  /// dw (+)= the sum of all slices, slice after slice, from the packed order back to the filter's;
  /// and that of dy.
  void finish(T* dw, bool accumulate) const {
    bias_.finish();
    const FilterStrides strides = filter_strides(shape_);
    parallel_for(shape_.groups * blocks(), [&](std::int64_t i) {
      const std::int64_t group = i / blocks(), k = i % blocks();
      T* block = sums_.data() + group * group_size() + k * block_size();
      for (std::int64_t slice = 1; slice < slices_; ++slice) {
        const T* more = block + slice * filter_size();
        for (std::int64_t j = 0; j < block_size(); j += kLanes<T>) {
          store(block + j, load(block + j) + load(more + j));
        }
      }
      const std::int64_t live = std::min(kWidth, plan_.out_channels - k * kWidth);
      T* out = dw + group * strides.group + k * kWidth * strides.output;
      for_each_step_block(plan_, plan_.lattices.front(), strides,
                          [&](std::int64_t step, std::int64_t count, std::int64_t offset) {
                            transpose_rows(out + offset, strides.output, block + step * kWidth,
                                           kWidth, count, live, accumulate);
                          });
    });
  }

 private:
  static constexpr std::int64_t kWidth = kVectors * kLanes<T>;

  static std::int64_t slices_of(const Conv2dPlan& plan, std::int64_t bytes) {
    constexpr std::int64_t kSlicePixels = 512;
    const std::int64_t pixels = plan.images * plan.out_height * plan.out_width;
    const std::int64_t affordable = 1 + kMaxPartialBytes / bytes;
    return std::clamp<std::int64_t>(pixels / kSlicePixels, 1,
                                    std::min({affordable, kMaxWorkers, plan.images * plan.bands}));
  }

  // Of a packed filter: blocks of output channels in a group, and sizes in elements.
  std::int64_t blocks() const { return ceil_div(plan_.out_channels, kWidth); }
  std::int64_t block_size() const { return plan_.steps * kWidth; }
  std::int64_t group_size() const { return blocks() * block_size(); }
  std::int64_t filter_size() const { return shape_.groups * group_size(); }

  // Vectors of dy are read whole: where the channels do not fill them, from a padded copy.
  bool pads() const { return plan_.out_channels % kWidth != 0; }
  std::int64_t dy_pixel() const { return pads() ? blocks() * kWidth : shape_.k; }
  std::int64_t padded_size() const {
    return pads() ? plan_.band_rows * plan_.out_width * dy_pixel() : 0;
  }
  std::int64_t scratch_size() const { return plan_.band_size() + padded_size(); }

  /// Adds what one band of one group contributes to some blocks of its output channels.
  void add_band(T* sums, T* scratch, std::int64_t unit, std::int64_t group, std::int64_t slice,
                Range part) {
    const std::int64_t image = unit / plan_.bands;
    const std::int64_t first = unit % plan_.bands * plan_.band_rows;
    const std::int64_t rows = std::min(plan_.band_rows, plan_.out_height - first);
    const T* packed = source_band(scratch, x_, plan_, image, group, first, rows);

    // The last row of a flattened batch is a shorter one.
    const bool ragged = plan_.missing_columns > 0 && first + rows == plan_.out_height;
    const std::int64_t missing = ragged ? plan_.missing_columns : 0;
    const std::int64_t pixels = rows * plan_.out_width - missing;
    const T* dy = dy_ + (image * plan_.out_height + first) * plan_.out_width * shape_.k +
                  group * plan_.out_channels;
    const std::int64_t k = part.first * kWidth;
    bias_.add(slice, group * plan_.out_channels + k,
              std::min(part.last * kWidth, plan_.out_channels) - k, dy + k, shape_.k, pixels);
    if (pads()) {
      T* padded = scratch + plan_.band_size();
      std::fill_n(padded, padded_size(), T(0));
      copy_pixels(padded, dy_pixel(), dy, shape_.k, plan_.out_channels, pixels);
      dy = padded;
    }

    const std::int64_t whole_rows = rows - (ragged ? 1 : 0);
    add_rows(sums, packed, dy, part, whole_rows, plan_.out_width);
    if (ragged) {
      add_rows(sums, packed + whole_rows * plan_.lattice_row_size(),
               dy + whole_rows * plan_.out_width * dy_pixel(), part, 1, plan_.out_width - missing);
    }
  }

  void add_rows(T* sums, const T* packed, const T* dy, Range part, std::int64_t rows,
                std::int64_t columns) const {
    for (std::int64_t k = part.first; k < part.last; ++k) {
      T* block = sums + k * block_size();
      for (const Run& run : plan_.lattices.front().runs) {
        multiply_weight_rows<kVectors>(block, run.length, packed + run.offset,
                                       {plan_.lattice_row_size(), plan_.lattice_column_size()},
                                       dy + k * kWidth, {plan_.out_width * dy_pixel(), dy_pixel()},
                                       rows, columns);
        block += run.length * kWidth;
      }
    }
  }

  const T* x_;
  const T* dy_;
  const Conv2dShape& shape_;
  const Conv2dPlan& plan_;
  std::int64_t slices_, parts_;
  Workspace<T> sums_, scratch_;
  BiasSums bias_;
};

}  // namespace

template <typename T>
void direct_forward(T* y, const T* x, const Filter<T>& w, const Conv2dShape& shape,
                    const Conv2dEpilogue<T>& epilogue) {
  correlate(y, x, w, conv2d_forward_plan(shape, {sizeof(T), kMaxPixelBytes}), filter_strides(shape),
            shape.groups, epilogue);
}

template <typename T>
void direct_backward_input(T* dx, const T* dy, const Filter<T>& w, const Conv2dShape& shape,
                           const Conv2dEpilogue<T>& epilogue) {
  FilterStrides strides = filter_strides(shape);
  std::swap(strides.input, strides.output);
  correlate(dx, dy, w, conv2d_backward_input_plan(shape, {sizeof(T), kMaxPixelBytes}), strides,
            shape.groups, epilogue);
}

template <typename T>
void direct_backward_weight(T* dw, const T* x, const T* dy, const Conv2dShape& shape,
                            bool accumulate, double* dy_sums) {
  with_vectors<T>(shape.filters_per_group(), [&]<int kVectors>() {
    DirectFilterGradient<kVectors, T> gradient(x, dy, shape, dy_sums);
    const std::int64_t tasks = gradient.tasks();
    parallel_for_workers(tasks, tasks, [&](std::int64_t task, std::int64_t worker) {
      gradient.compute(task, worker);
    });
    gradient.finish(dw, accumulate);
  });
}

#define ATTUNE_INSTANTIATE(T)                                                             \
  template void direct_forward(T*, const T*, const Filter<T>&, const Conv2dShape&,        \
                               const Conv2dEpilogue<T>&);                                 \
  template void direct_backward_input(T*, const T*, const Filter<T>&, const Conv2dShape&, \
                                      const Conv2dEpilogue<T>&);                          \
  template void direct_backward_weight(T*, const T*, const T*, const Conv2dShape&, bool, double*);
ATTUNE_INSTANTIATE(float)
ATTUNE_INSTANTIATE(double)

}  // namespace attune::kernels::cpu::ATTUNE_ISA
