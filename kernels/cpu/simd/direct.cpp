#include "attune/kernels/cpu/simd/direct.h"

#include "attune/kernels/cpu/parallel.h"
#include "attune/kernels/cpu/simd/bias_gradient.h"
#include "attune/kernels/cpu/simd/pack.h"
#include "attune/kernels/memory.h"

// Direct convolution: a band of rows is packed, then multiplied row by row, tile by tile. How the
// passes see their operands is in conv2d_plan.h.

namespace attune::kernels::cpu::ATTUNE_ISA {
namespace {

/// Calls body<kStride, kVectors>() for the distance between packed columns and the vectors of
/// output channels in a tile.
template <typename T, typename Body>
void with_tile_variant(const Conv2dPlan& plan, const Body& body) {
  const bool wide = plan.out_channels > kLanes<T>;
  if (plan.block == 3) {
    wide ? body.template operator()<3, 2>() : body.template operator()<3, 1>();
  } else {
    wide ? body.template operator()<16, 2>() : body.template operator()<16, 1>();
  }
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
template <int kStride, int kVectors, typename T>
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
          multiply_row<kStride, kVectors>(
              packed + (row - band.first) * plan.lattice_row_step * plan.row_size(),
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
void correlate(T* out, const T* source, const T* w, const Conv2dPlan& plan,
               const FilterStrides& strides, std::int64_t groups,
               const Conv2dEpilogue<T>& epilogue) {
  with_tile_variant<T>(plan, [&]<int kStride, int kVectors>() {
    constexpr std::int64_t kWidth = kVectors * kLanes<T>;
    const std::int64_t blocks = ceil_div(plan.out_channels, kWidth);
    const std::int64_t filter_size = blocks * plan.steps * kWidth;
    const Workspace<T> filters(groups * filter_size);
    parallel_for(groups * blocks, [&](std::int64_t i) {
      const std::int64_t group = i / blocks, k = i % blocks;
      for (const Lattice& lattice : plan.lattices) {
        pack_filter(filters.data() + group * filter_size +
                        (lattice.first_step * blocks + k * lattice.steps) * kWidth,
                    w + group * strides.group, plan, lattice, strides, k * kWidth,
                    std::min(kWidth, plan.out_channels - k * kWidth), kWidth);
      }
    });

    const std::int64_t units = plan.images * plan.bands * groups;
    const std::int64_t workers = std::min(units, kMaxWorkers);
    const Workspace<T> scratch(workers * plan.band_size());
    parallel_for_workers(units, workers, [&](std::int64_t unit, std::int64_t worker) {
      const std::int64_t group = unit % groups;
      const std::int64_t image = unit / groups / plan.bands;
      const std::int64_t first = unit / groups % plan.bands * plan.band_rows;
      T* packed = scratch.data() + worker * plan.band_size();
      pack_band(
          packed,
          source + image * plan.height * plan.width * plan.pixel_stride + group * plan.channels,
          plan, first, plan.band_rows);
      const TileOutput<T> all{out, plan.out_column_step * plan.out_pixel_stride,
                              (group + 1) * plan.out_channels, epilogue};
      correlate_band<kStride, kVectors>(
          plan, packed, filters.data() + group * filter_size,
          all.from_channel(group * plan.out_channels),
          image * plan.out_height * plan.out_width * plan.out_pixel_stride,
          Range{first, first + plan.band_rows});
    });
  });
}

}  // namespace

template <typename T>
void direct_forward(T* y, const T* x, const T* w, const Conv2dShape& shape,
                    const Conv2dEpilogue<T>& epilogue) {
  const std::int64_t channels = shape.channels_per_group();
  const std::int64_t filter = shape.r * shape.s * channels;
  correlate(
      y, x, w, conv2d_forward_plan(shape, sizeof(T)),
      {.output = filter, .input = 1, .tap = channels, .group = shape.filters_per_group() * filter},
      shape.groups, epilogue);
}

template <typename T>
void direct_backward_input(T* dx, const T* dy, const T* w, const Conv2dShape& shape,
                           const Conv2dEpilogue<T>& epilogue) {
  const std::int64_t channels = shape.channels_per_group();
  const std::int64_t filter = shape.r * shape.s * channels;
  correlate(
      dx, dy, w, conv2d_backward_input_plan(shape, sizeof(T)),
      {.output = 1, .input = filter, .tap = channels, .group = shape.filters_per_group() * filter},
      shape.groups, epilogue);
}

namespace {

/// The gradient of the filter is summed up in slices of the batch, each split by output channels
/// if the batch alone does not keep the threads busy. A slice has a packed filter of its own, and
/// must have pixels enough to be worth adding that up in the end.
struct WeightPartition {
  std::int64_t slices = 1, parts = 1;
};
WeightPartition partition(const Conv2dPlan& plan, std::int64_t filter_bytes, std::int64_t blocks) {
  constexpr std::int64_t kSlicePixels = 512;
  const std::int64_t pixels = plan.images * plan.out_height * plan.out_width;
  const std::int64_t affordable = 1 + kMaxPartialBytes / filter_bytes;
  WeightPartition cut;
  cut.slices = std::clamp<std::int64_t>(
      pixels / kSlicePixels, 1, std::min({affordable, kMaxWorkers, plan.images * plan.bands}));
  cut.parts = std::clamp<std::int64_t>(kMaxWorkers / cut.slices, 1, blocks);
  return cut;
}

/// Adds what one band contributes to blocks [blocks.first, blocks.last) of a packed filter.
template <int kStride, int kVectors, typename T>
void accumulate_band(T* filter, const Conv2dPlan& plan, const T* packed, const T* dy,
                     std::int64_t dy_pixel, Range blocks, std::int64_t rows, std::int64_t columns) {
  constexpr std::int64_t kWidth = kVectors * kLanes<T>;
  const Lattice& lattice = plan.lattices.front();
  for (std::int64_t k = blocks.first; k < blocks.last; ++k) {
    T* sums = filter + k * plan.steps * kWidth;
    for (const Run& run : lattice.runs) {
      multiply_weight_rows<kStride, kVectors>(
          sums, run.length, packed + run.offset, plan.lattice_row_step * plan.row_size(),
          dy + k * kWidth, plan.out_width * dy_pixel, dy_pixel, rows, columns);
      sums += run.length * kWidth;
    }
  }
}

}  // namespace

template <typename T>
void direct_backward_weight(T* dw, const T* x, const T* dy, const Conv2dShape& shape,
                            bool accumulate, double* dy_sums) {
  const Conv2dPlan& plan = conv2d_forward_plan(shape, sizeof(T));
  const Lattice& lattice = plan.lattices.front();
  const std::int64_t channels = shape.channels_per_group();
  const std::int64_t filter = shape.r * shape.s * channels;
  const FilterStrides strides{.output = filter, .input = 1, .tap = channels};
  const std::int64_t groups = shape.groups;

  with_tile_variant<T>(plan, [&]<int kStride, int kVectors>() {
    constexpr std::int64_t kWidth = kVectors * kLanes<T>;
    const std::int64_t blocks = ceil_div(plan.out_channels, kWidth);
    const std::int64_t size = blocks * plan.steps * kWidth;
    const WeightPartition cut =
        partition(plan, groups * size * static_cast<std::int64_t>(sizeof(T)), blocks);
    const std::int64_t units = plan.images * plan.bands;
    // Vectors of dy are read whole: where the channels do not fill them, from a padded copy.
    const bool whole = plan.out_channels % kWidth == 0;
    const std::int64_t dy_pixel = whole ? shape.k : blocks * kWidth;
    const std::int64_t dy_size = whole ? 0 : plan.band_rows * plan.out_width * dy_pixel;
    const std::int64_t tasks = cut.slices * cut.parts;
    const Workspace<T> sums(cut.slices * groups * size);
    BiasSums bias(dy_sums, cut.slices, shape.k);
    const Workspace<T> scratch(tasks * (plan.band_size() + dy_size));

    parallel_for_workers(tasks, tasks, [&](std::int64_t task, std::int64_t worker) {
      const std::int64_t slice = task / cut.parts;
      const Range part = piece(blocks, cut.parts, task % cut.parts);
      T* slice_sums = sums.data() + slice * groups * size;
      for (std::int64_t group = 0; group < groups; ++group) {
        std::fill_n(slice_sums + group * size + part.first * plan.steps * kWidth,
                    part.size() * plan.steps * kWidth, T(0));
      }
      T* packed = scratch.data() + worker * (plan.band_size() + dy_size);
      T* padded = packed + plan.band_size();
      const Range range = piece(units, cut.slices, slice);
      for (std::int64_t unit = range.first; unit < range.last; ++unit) {
        const std::int64_t image = unit / plan.bands;
        const std::int64_t first = unit % plan.bands * plan.band_rows;
        const std::int64_t rows = std::min(plan.band_rows, plan.out_height - first);
        for (std::int64_t group = 0; group < groups; ++group) {
          pack_band(
              packed,
              x + image * plan.height * plan.width * plan.pixel_stride + group * plan.channels,
              plan, first, rows);
          const T* dy_band = dy + (image * plan.out_height + first) * plan.out_width * shape.k +
                             group * plan.out_channels;
          // The last row of a flattened batch is a shorter one.
          const bool ragged = plan.missing_columns > 0 && first + rows == plan.out_height;
          const std::int64_t last_columns = plan.out_width - plan.missing_columns;
          const std::int64_t whole_rows = rows - (ragged ? 1 : 0);
          const std::int64_t pixels = rows * plan.out_width - (ragged ? plan.missing_columns : 0);
          const std::int64_t k = part.first * kWidth;
          bias.add(slice, group * plan.out_channels + k,
                   std::min(part.last * kWidth, plan.out_channels) - k, dy_band + k, shape.k,
                   pixels);
          if (!whole) {
            std::fill_n(padded, dy_size, T(0));
            copy_pixels(padded, dy_pixel, dy_band, shape.k, plan.out_channels, pixels);
            dy_band = padded;
          }
          T* group_sums = slice_sums + group * size;
          accumulate_band<kStride, kVectors>(group_sums, plan, packed, dy_band, dy_pixel, part,
                                             whole_rows, plan.out_width);
          if (ragged) {
            accumulate_band<kStride, kVectors>(
                group_sums, plan, packed + whole_rows * plan.lattice_row_step * plan.row_size(),
                dy_band + whole_rows * plan.out_width * dy_pixel, dy_pixel, part, 1, last_columns);
          }
        }
      }
    });

    bias.finish();

    // Slice after slice, and from the packed order back to the filter's.
    parallel_for(groups * blocks, [&](std::int64_t i) {
      const std::int64_t group = i / blocks, k = i % blocks;
      T* block = sums.data() + group * size + k * plan.steps * kWidth;
      for (std::int64_t slice = 1; slice < cut.slices; ++slice) {
        const T* more = block + slice * groups * size;
        for (std::int64_t j = 0; j < plan.steps * kWidth; j += kLanes<T>) {
          store(block + j, load(block + j) + load(more + j));
        }
      }
      const std::int64_t live = std::min(kWidth, plan.out_channels - k * kWidth);
      T* out = dw + (group * plan.out_channels + k * kWidth) * filter;
      for_each_step_block(plan, lattice, strides,
                          [&](std::int64_t step, std::int64_t count, std::int64_t offset) {
                            for (std::int64_t o = 0; o < live; ++o) {
                              for (std::int64_t c = 0; c < count; ++c) {
                                T& element = out[o * filter + offset + c];
                                const T sum = block[(step + c) * kWidth + o];
                                element = accumulate ? element + sum : sum;
                              }
                            }
                          });
    });
  });
}

#define ATTUNE_INSTANTIATE(T)                                                     \
  template void direct_forward(T*, const T*, const T*, const Conv2dShape&,        \
                               const Conv2dEpilogue<T>&);                         \
  template void direct_backward_input(T*, const T*, const T*, const Conv2dShape&, \
                                      const Conv2dEpilogue<T>&);                  \
  template void direct_backward_weight(T*, const T*, const T*, const Conv2dShape&, bool, double*);
ATTUNE_INSTANTIATE(float)
ATTUNE_INSTANTIATE(double)

}  // namespace attune::kernels::cpu::ATTUNE_ISA
