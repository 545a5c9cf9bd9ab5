#include "attune/kernels/cpu/conv2d_plan.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>

#include "attune/kernels/cpu/parallel.h"

namespace attune::kernels::cpu {
namespace {

constexpr std::int64_t kChunkSteps = 256;  // of two AVX-512 vectors: 32 KB of filter
constexpr std::int64_t kBandBytes = 160 << 10;
constexpr std::int64_t kBandPixels = 64;  // fewer are not worth reading the filter for
constexpr std::int64_t kMinUnits = 16;    // bands of the whole batch, for so many threads
// Full tiles of 14 pixels, and as many rows for each of two threads: a batch of 8 has 2, 8, 32 or
// 128 of them where images are 7, 14, 28 or 56 wide.
constexpr std::int64_t kFlatColumns = 196;

/// What one tap reads for an output pixel: `row` and `column` of the packed source.
struct TapPosition {
  std::int64_t tap = 0, row = 0, column = 0;
};

/// Whether each output sees one pixel, and each of these exists.
bool sees_one_pixel(const Conv2dShape& s) {
  return s.r == 1 && s.s == 1 && s.pad_h == 0 && s.pad_w == 0;
}

/// Decides how a source is packed for an output of `columns` columns and filters that see
/// `halo_columns` more than one column. The steps are known already.
void choose_packing(Conv2dPlan& plan, const Conv2dShape& s, std::int64_t columns,
                    std::int64_t halo_columns, const PlanOptions& options) {
  const std::int64_t pixel_bytes =
      plan.packed_column_step * plan.pixel_stride * options.element_size;
  plan.packs = !sees_one_pixel(s) || pixel_bytes > options.max_pixel_bytes;
  if (!plan.packs) {
    std::swap(plan.packed_row_step, plan.lattice_row_step);
    std::swap(plan.packed_column_step, plan.lattice_column_step);
    plan.block = plan.channels;
    plan.columns = plan.width;
    plan.column_size = plan.pixel_stride;
  } else {
    // Three channels are packed without gaps, so that the taps of a filter row are a single run.
    plan.block = plan.channels == 3 ? 3 : kBlock;
    plan.columns = (columns - 1) * plan.lattice_column_step + halo_columns + 1;
    plan.column_size = plan.block;
  }
  plan.blocks = ceil_div(plan.channels, plan.block);
}

/// As few rows as give every thread something to do, as many as fit a share of the L2 cache.
void choose_bands(Conv2dPlan& plan, std::int64_t element_size) {
  std::int64_t rows = 0, columns = 0;
  for (const Lattice& lattice : plan.lattices) {
    rows = std::max(rows, lattice.rows);
    columns = std::max(columns, lattice.columns);
  }
  const std::int64_t row_bytes = plan.row_size() * plan.blocks * plan.lattice_row_step;
  const std::int64_t fitting = kBandBytes / std::max<std::int64_t>(1, row_bytes * element_size);
  const std::int64_t worthwhile = ceil_div(kBandPixels, std::max<std::int64_t>(1, columns));
  const std::int64_t bands_an_image = ceil_div(kMinUnits, plan.images);
  plan.band_rows = std::clamp<std::int64_t>(std::min(fitting, ceil_div(rows, bands_an_image)),
                                            std::min(worthwhile, rows), rows);
  // Equal bands: the last one is not left with a row or two.
  plan.band_rows = ceil_div(rows, ceil_div(rows, plan.band_rows));
  plan.bands = ceil_div(rows, plan.band_rows);
}

/// Lists the runs of a lattice: block by block, tap by tap, two being one if the second continues
/// the first. The size of a block depends on the height of a band, so this comes last.
void list_runs(Lattice& lattice, const std::vector<TapPosition>& taps, const Conv2dPlan& plan) {
  for (const TapPosition& tap : taps) {
    lattice.taps.push_back(tap.tap);
    lattice.offsets.push_back(tap.row * plan.row_size() + tap.column * plan.column_size);
  }
  for (std::int64_t b = 0; b < plan.blocks; ++b) {
    const auto length = std::min<std::int64_t>(plan.block, plan.channels - b * plan.block);
    for (const std::int64_t tap_offset : lattice.offsets) {
      const std::int64_t offset = b * plan.block_size() + tap_offset;
      const bool continues = !lattice.runs.empty() &&
                             lattice.runs.back().offset + lattice.runs.back().length == offset;
      if (continues) {
        lattice.runs.back().length += length;
      } else {
        lattice.runs.push_back({offset, length});
      }
    }
  }
  lattice.chunks.push_back({});
  for (const Run& run : lattice.runs) {
    if (lattice.steps - lattice.chunks.back().first_step >= kChunkSteps) {
      const RunChunk& last = lattice.chunks.back();
      lattice.chunks.push_back({last.first_run + last.run_count, 0, lattice.steps});
    }
    ++lattice.chunks.back().run_count;
    lattice.steps += run.length;
  }
}

void finish(Conv2dPlan& plan, const std::vector<std::vector<TapPosition>>& taps,
            const PlanOptions& options) {
  choose_bands(plan, options.element_size);
  for (std::size_t i = 0; i < taps.size(); ++i) {
    Lattice& lattice = plan.lattices[i];
    list_runs(lattice, taps[i], plan);
    lattice.first_step = plan.steps;
    plan.steps += lattice.steps;
  }
}

/// A 1x1 convolution of stride 1 sees no neighbours: all pixels of the batch are one image, whose
/// rows are as long as the tiles like them.
bool is_pointwise(const Conv2dShape& s) {
  return sees_one_pixel(s) && s.stride_h == 1 && s.stride_w == 1;
}

Conv2dShape flattened(const Conv2dShape& shape) {
  Conv2dShape flat = shape;
  const std::int64_t pixels = shape.output_pixels();
  flat.n = 1;
  flat.w = flat.q = std::min(pixels, kFlatColumns);
  flat.h = flat.p = ceil_div(pixels, flat.q);
  return flat;
}

/// The taps of one dimension that reach output coordinates congruent to `remainder` modulo the
/// stride: in x = y * stride - pad + tap * dilation, y as a function of x.
std::vector<ReachingTap> reaching_taps(std::int64_t remainder, std::int64_t taps,
                                       std::int64_t stride, std::int64_t pad,
                                       std::int64_t dilation) {
  std::vector<ReachingTap> reaching;
  for (std::int64_t tap = 0; tap < taps; ++tap) {
    const std::int64_t reach = remainder + pad - tap * dilation;
    if (reach % stride == 0) reaching.push_back({tap, reach / stride});
  }
  return reaching;
}

/// Smallest and largest distance over all remainders. Each tap reaches some output.
std::array<std::int64_t, 2> distances(std::int64_t taps, std::int64_t stride, std::int64_t pad,
                                      std::int64_t dilation) {
  std::int64_t low = std::numeric_limits<std::int64_t>::max();
  std::int64_t high = std::numeric_limits<std::int64_t>::min();
  for (std::int64_t remainder = 0; remainder < stride; ++remainder) {
    for (const ReachingTap& tap : reaching_taps(remainder, taps, stride, pad, dilation)) {
      low = std::min(low, tap.distance);
      high = std::max(high, tap.distance);
    }
  }
  return {low, high};
}

Conv2dPlan plan_forward(const Conv2dShape& shape, const PlanOptions& options) {
  const Conv2dShape s = is_pointwise(shape) ? flattened(shape) : shape;
  Conv2dPlan plan;
  plan.images = s.n;
  plan.height = s.h;
  plan.width = s.w;
  plan.channels = s.channels_per_group();
  plan.pixel_stride = s.c;

  plan.top = -s.pad_h;
  plan.left = -s.pad_w;
  // A filter of one row reads no rows in between, and one of one column no columns.
  (s.r == 1 ? plan.packed_row_step : plan.lattice_row_step) = s.stride_h;
  (s.s == 1 ? plan.packed_column_step : plan.lattice_column_step) = s.stride_w;
  choose_packing(plan, s, s.q, (s.s - 1) * s.dilation_w, options);
  plan.halo_rows = (s.r - 1) * s.dilation_h;

  plan.out_height = s.p;
  plan.out_width = s.q;
  plan.out_channels = s.filters_per_group();
  plan.out_pixel_stride = s.k;
  plan.missing_columns = s.output_pixels() - shape.output_pixels();

  std::vector<TapPosition> taps;
  for (std::int64_t r = 0; r < s.r; ++r) {
    for (std::int64_t c = 0; c < s.s; ++c) {
      taps.push_back({r * s.s + c, r * s.dilation_h, c * s.dilation_w});
    }
  }
  plan.lattices.push_back({.rows = s.p, .columns = s.q});
  finish(plan, {taps}, options);
  return plan;
}

Conv2dPlan plan_backward_input(const Conv2dShape& shape, const PlanOptions& options) {
  const Conv2dShape s = is_pointwise(shape) ? flattened(shape) : shape;
  Conv2dPlan plan;
  plan.images = s.n;
  plan.height = s.p;
  plan.width = s.q;
  plan.channels = s.filters_per_group();
  plan.pixel_stride = s.k;

  const auto [top, bottom] = distances(s.r, s.stride_h, s.pad_h, s.dilation_h);
  const auto [left, right] = distances(s.s, s.stride_w, s.pad_w, s.dilation_w);
  plan.top = top;
  plan.left = left;
  plan.halo_rows = bottom - top;
  choose_packing(plan, s, ceil_div(s.w, s.stride_w), right - left, options);

  plan.out_height = s.h;
  plan.out_width = s.w;
  plan.out_channels = s.channels_per_group();
  plan.out_pixel_stride = s.c;
  plan.out_row_step = s.stride_h;
  plan.out_column_step = s.stride_w;
  plan.missing_columns = s.output_pixels() - shape.output_pixels();

  std::vector<std::vector<TapPosition>> taps;
  for (std::int64_t row = 0; row < std::min(s.stride_h, s.h); ++row) {
    for (std::int64_t column = 0; column < std::min(s.stride_w, s.w); ++column) {
      plan.lattices.push_back({.row = row,
                               .column = column,
                               .rows = ceil_div(s.h - row, s.stride_h),
                               .columns = ceil_div(s.w - column, s.stride_w)});
      std::vector<TapPosition>& reaching = taps.emplace_back();
      for (const auto& r : reaching_taps(row, s.r, s.stride_h, s.pad_h, s.dilation_h)) {
        for (const auto& c : reaching_taps(column, s.s, s.stride_w, s.pad_w, s.dilation_w)) {
          reaching.push_back({r.tap * s.s + c.tap, r.distance - top, c.distance - left});
        }
      }
    }
  }
  finish(plan, taps, options);
  return plan;
}

/// What the outputs of `axis` see of a source of `size` elements.
TapAxis bounded(TapAxis axis, std::int64_t size) {
  std::sort(axis.taps.begin(), axis.taps.end(),
            [](const ReachingTap& a, const ReachingTap& b) { return a.distance < b.distance; });
  axis.inner_last = axis.count;
  for (const ReachingTap& tap : axis.taps) {
    const std::int64_t before = std::max<std::int64_t>(0, -tap.distance);
    const std::int64_t inside = std::max<std::int64_t>(0, size - tap.distance);
    if (tap.distance - axis.taps.front().distance != &tap - axis.taps.data()) {
      axis.sees_neighbours = false;
    }
    axis.inner_first = std::max(axis.inner_first, ceil_div(before, axis.source_step));
    axis.inner_last = std::min(axis.inner_last, ceil_div(inside, axis.source_step));
  }
  axis.inner_first = std::min(axis.inner_first, axis.count);
  axis.inner_last = std::max(axis.inner_first, axis.inner_last);
  return axis;
}

TapAxis forward_axis(std::int64_t size, std::int64_t outputs, std::int64_t taps,
                     std::int64_t stride, std::int64_t pad, std::int64_t dilation) {
  TapAxis axis{.count = outputs, .source_step = stride};
  for (std::int64_t t = 0; t < taps; ++t) axis.taps.push_back({t, t * dilation - pad});
  return bounded(axis, size);
}

std::vector<TapAxis> backward_input_axes(std::int64_t size, std::int64_t outputs, std::int64_t taps,
                                         std::int64_t stride, std::int64_t pad,
                                         std::int64_t dilation) {
  std::vector<TapAxis> axes;
  for (std::int64_t remainder = 0; remainder < std::min(stride, outputs); ++remainder) {
    axes.push_back(bounded({.first = remainder,
                            .step = stride,
                            .count = ceil_div(outputs - remainder, stride),
                            .taps = reaching_taps(remainder, taps, stride, pad, dilation)},
                           size));
  }
  return axes;
}

DepthwisePlan plan_depthwise_forward(const Conv2dShape& s) {
  return {.images = s.n,
          .channels = s.c,
          .height = s.h,
          .width = s.w,
          .out_height = s.p,
          .out_width = s.q,
          .filter_height = s.r,
          .filter_width = s.s,
          .rows = {forward_axis(s.h, s.p, s.r, s.stride_h, s.pad_h, s.dilation_h)},
          .columns = {forward_axis(s.w, s.q, s.s, s.stride_w, s.pad_w, s.dilation_w)}};
}

/// The other way round: from what was the output to what was the source.
DepthwisePlan plan_depthwise_backward_input(const Conv2dShape& s) {
  DepthwisePlan plan = plan_depthwise_forward(s);
  std::swap(plan.height, plan.out_height);
  std::swap(plan.width, plan.out_width);
  plan.rows = backward_input_axes(s.p, s.h, s.r, s.stride_h, s.pad_h, s.dilation_h);
  plan.columns = backward_input_axes(s.q, s.w, s.s, s.stride_w, s.pad_w, s.dilation_w);
  return plan;
}

template <auto make, typename... Key>
const auto& cached(const Key&... key) {
  // Never destroyed: whoever runs a convolution while the program ends may still use it.
  static std::mutex& mutex = *new std::mutex;
  static auto& plans = *new std::map<std::tuple<Key...>, decltype(make(key...))>;
  const std::lock_guard lock(mutex);
  const auto found = plans.find({key...});
  if (found != plans.end()) return found->second;
  return plans.emplace(std::tuple(key...), make(key...)).first->second;
}

}  // namespace

const Conv2dPlan& conv2d_forward_plan(const Conv2dShape& shape, const PlanOptions& options) {
  return cached<plan_forward>(shape, options);
}

const Conv2dPlan& conv2d_backward_input_plan(const Conv2dShape& shape, const PlanOptions& options) {
  return cached<plan_backward_input>(shape, options);
}

const DepthwisePlan& depthwise_forward_plan(const Conv2dShape& shape) {
  return cached<plan_depthwise_forward>(shape);
}

const DepthwisePlan& depthwise_backward_input_plan(const Conv2dShape& shape) {
  return cached<plan_depthwise_backward_input>(shape);
}

}  // namespace attune::kernels::cpu

template class attune::kernels::Workspace<attune::kernels::cpu::Run>;
