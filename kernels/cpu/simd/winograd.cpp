#include "attune/kernels/cpu/simd/winograd.h"

#include <algorithm>

#include "attune/kernels/cpu/parallel.h"
#include "attune/kernels/cpu/simd/bias_gradient.h"
#include "attune/kernels/cpu/simd/output_moments.h"
#include "attune/kernels/cpu/simd/winograd_by_outputs.h"
#include "attune/kernels/cpu/simd/winograd_tiles.h"
#include "attune/kernels/memory.h"

// A pass takes blocks of tiles of 4x4 outputs. Each tile's 6x6 inputs are transformed into 36
// frequencies; at each frequency the tiles of a block, [tiles, channels], are multiplied with the
// transformed filter, [channels, outputs], by the micro-kernel of the direct convolution; and the
// products are transformed back. One thread does all of that for its block, so the frequencies
// never leave its cache.

namespace attune::kernels::cpu::ATTUNE_ISA {
namespace {

/// Fetches what the transforms will want of memory, in small portions while the products leave it
/// idle: where a block of tiles will be written, what its epilogue reads, the next block's source.
template <typename T>
class Prefetcher {
 public:
  Prefetcher(const T* out, const T* source, const Geometry& g, const Conv2dEpilogue<T>& epilogue,
             Range tiles)
      : out_(out),
        source_(source),
        g_(g),
        epilogue_(epilogue),
        tiles_(is_worthwhile(g) ? tiles.size() : 0),
        at_(position(g, tiles.first)),
        next_(position(g, tiles.last)) {}

  /// Gets as far with the tiles as the products are with the frequencies.
  ATTUNE_INLINE void fetch(int frequencies) {
    for (; done_ * kFrequencies < tiles_ * frequencies; ++done_) {
      prefetch_tile<true>(out_, g_.out_height, g_.out_width, g_.out_channels, at_);
      if (epilogue_.norm.y && !kFillsLines) {
        prefetch_tile<true>(epilogue_.norm.y, g_.out_height, g_.out_width, g_.out_channels, at_);
      }
      for (const T* read : {epilogue_.residual, epilogue_.mask}) {
        if (read) prefetch_tile<false>(read, g_.out_height, g_.out_width, g_.out_channels, at_);
      }
      if (next_.image < g_.images) {
        prefetch_tile<false>(source_, g_.height, g_.width, g_.channels, next_);
      }
      advance(g_, at_);
      advance(g_, next_);
    }
  }

 private:
  /// A few images are in the L2 cache anyway.
  static bool is_worthwhile(const Geometry& g) {
    const std::int64_t in = g.height * g.width * g.channels;
    const std::int64_t out = g.out_height * g.out_width * g.out_channels;
    return g.images * (in + out) * static_cast<std::int64_t>(sizeof(T)) > kFarBytes;
  }

  const T* out_;
  const T* source_;
  const Geometry& g_;
  const Conv2dEpilogue<T>& epilogue_;
  std::int64_t tiles_, done_ = 0;
  TilePosition at_, next_;
};

/// Tiles that a thread takes at a time: few enough for their frequencies to stay in the L2 cache,
/// enough to be worth streaming the transformed filter for, which is larger than the cache where
/// there are many channels.
std::int64_t tiles_per_block(const Geometry& g) {
  const std::int64_t pairs = g.channels * g.out_channels;
  return pairs <= 64 * 64 ? 16 : pairs <= 128 * 128 ? 32 : 64;
}

/// The same for the gradient of the filter, whose sums go through the registers once a block: the
/// smaller they are, the more tiles fit beside them.
std::int64_t tiles_per_weight_block(const Geometry& g) {
  const std::int64_t pairs = g.channels * g.out_channels;
  return pairs <= 16 * 16 ? 32 : pairs <= 64 * 64 ? 16 : 32;
}

/// out = epilogue(correlation of source with w), any tiles of it at a time: forward and
/// backward-input alike.
template <int kVectors, typename T>
class Correlation {
 public:
  Correlation(T* out, const T* source, const Filter<T>& w, const Geometry& g,
              const FilterView& view, const Conv2dEpilogue<T>& epilogue, std::int64_t workers)
      : out_(out),
        source_(source),
        g_(g),
        epilogue_(epilogue),
        layout_{std::min(tiles_per_block(g), g.tiles()), g.channels,
                ceil_div(g.out_channels, kWidth), kWidth},
        zeros_(g),
        u_(w, kFrequencies * u_frequency()),
        scratch_(workers * scratch_size()) {
    if (u_.is_ready()) return;
    transform_filters<kVectors>(u_.data(), u_frequency(), w.elements, view);
    u_.keep();
  }

  void compute(Range tiles, std::int64_t worker) const {
    for (std::int64_t first = tiles.first; first < tiles.last; first += layout_.tiles) {
      compute_block({first, std::min(tiles.last, first + layout_.tiles)},
                    scratch_.data() + worker * scratch_size());
    }
  }

  /// Tiles that are done in one go.
  std::int64_t block_tiles() const { return layout_.tiles; }

 private:
  static constexpr std::int64_t kWidth = kVectors * kLanes<T>;

  std::int64_t u_frequency() const {
    return layout_.out_blocks * kWidth * layout_.channels + BlockLayout::kGap;
  }
  std::int64_t products_at() const { return layout_.in_place() ? 0 : layout_.in_size(); }
  std::int64_t scratch_size() const { return products_at() + layout_.out_size(); }

  void compute_block(Range tiles, T* patches) const {
    T* products = patches + products_at();
    for_each_tile(g_, tiles, [&](std::int64_t t, const TilePosition& at) {
      transform_patches(patches + t * kBlock, layout_, patch_at(source_, g_, at, zeros_.data()));
    });
    Prefetcher prefetcher(out_, source_, g_, epilogue_, tiles);
    for (int f = 0; f < kFrequencies; ++f) {
      prefetcher.fetch(f + 1);
      for (std::int64_t k = 0; k < layout_.out_blocks; ++k) {
        multiply_frequency<kVectors>(
            products + f * layout_.out_frequency() + k * layout_.out_block(),
            patches + f * layout_.in_frequency(),
            u_.data() + f * u_frequency() + k * layout_.channels * kWidth, layout_, tiles.size());
      }
    }
    for_each_tile(g_, tiles, [&](std::int64_t t, const TilePosition& at) {
      transform_products(out_, epilogue_, extent_of(g_, at), products + t * kWidth, layout_);
    });
  }

  T* out_;
  const T* source_;
  Geometry g_;
  Conv2dEpilogue<T> epilogue_;
  BlockLayout layout_;
  ZeroRow<T> zeros_;
  PreparedFilter<T> u_;
  Workspace<T> scratch_;
};

/// The gradient of the filter, summed up in slices of the batch, each split by output channels if
/// the batch alone does not keep the threads busy.
template <int kVectors, typename T>
class FilterGradient {
 public:
  FilterGradient(const T* x, const T* dy, const Geometry& g, double* dy_sums)
      : x_(x),
        dy_(dy),
        g_(g),
        layout_{std::min(tiles_per_weight_block(g), g.tiles()), g.channels,
                ceil_div(g.out_channels, kWidth), kWidth},
        slices_(slices_of(g, sums_size() * static_cast<std::int64_t>(sizeof(T)))),
        parts_(parts_of_slice(slices_, layout_.out_blocks)),
        zeros_(g),
        sums_(slices_ * sums_size()),
        scratch_(tasks() * scratch_size()),
        bias_(dy_sums, slices_, g.out_channels) {}

  /// A slice, or a part of its output channels.
  std::int64_t tasks() const { return slices_ * parts_; }
  Range tiles_of(std::int64_t task) const { return piece(g_.tiles(), slices_, task / parts_); }
  bool is_first_of_slice(std::int64_t task) const { return task % parts_ == 0; }

  /// Adds tiles of a task, which must come in order, and on one worker.
  void add(std::int64_t task, Range tiles, std::int64_t worker) {
    const std::int64_t slice = task / parts_;
    const Range part = piece(layout_.out_blocks, parts_, task % parts_);
    const Range outputs{part.first * kWidth, std::min(part.last * kWidth, g_.out_channels)};
    T* sums = sums_.data() + slice * sums_size();
    T* patches = scratch_.data() + worker * scratch_size();
    T* gradients = patches + layout_.in_size();
    const std::int64_t first_of_slice = tiles_of(task).first;
    // Where the outputs do not fill the vectors, the rest is multiplied too, as zeros.
    if (tiles.first == first_of_slice) std::fill_n(gradients, layout_.out_size(), T(0));
    for (std::int64_t first = tiles.first; first < tiles.last; first += layout_.tiles) {
      const std::int64_t count = std::min(layout_.tiles, tiles.last - first);
      for_each_tile(g_, {first, first + count}, [&](std::int64_t t, const TilePosition& at) {
        transform_patches(patches + t * kBlock, layout_, patch_at(x_, g_, at, zeros_.data()));
        transform_gradients(gradients + t * kWidth, layout_, dy_, extent_of(g_, at), outputs);
      });
      // The row of A for the point 1 is all ones: at the frequency (1, 1) is the sum of a tile.
      for (std::int64_t k = outputs.first; k < outputs.last; k += kWidth) {
        bias_.add(slice, k, std::min(kWidth, outputs.last - k),
                  gradients + (kPatch + 1) * layout_.out_frequency() + layout_.output(k), kWidth,
                  count);
      }
      TilePosition next = position(g_, first + count);
      std::int64_t fetched = 0;
      for (int f = 0; f < kFrequencies; ++f) {
        // The next block's tiles, in portions like the Prefetcher's.
        for (; fetched * kFrequencies < count * (f + 1) && next.image < g_.images; ++fetched) {
          prefetch_tile<false>(x_, g_.height, g_.width, g_.channels, next);
          prefetch_tile<false>(dy_, g_.out_height, g_.out_width, g_.out_channels, next);
          advance(g_, next);
        }
        for (std::int64_t k = part.first; k < part.last; ++k) {
          T* block = sums + (f * layout_.out_blocks + k) * g_.channels * kWidth;
          add_frequency_products<kVectors>(
              block, patches + f * layout_.in_frequency(),
              gradients + f * layout_.out_frequency() + k * layout_.out_block(), layout_,
              g_.channels, count, first == first_of_slice);
        }
      }
    }
  }

  /// dw (+)= the sum of all slices, and that of dy.
  void finish(T* dw, const FilterView& view, bool accumulate) const {
    bias_.finish();
    gather_filter_gradient<kVectors>(dw, sums_.data(), slices_, sums_size(), view, accumulate);
  }

 private:
  static constexpr std::int64_t kWidth = kVectors * kLanes<T>;

  static std::int64_t slices_of(const Geometry& g, std::int64_t bytes) {
    constexpr std::int64_t kSliceTiles = 128;  // fewer are not worth adding up a filter for
    const std::int64_t affordable = 1 + kMaxPartialBytes / bytes;
    return std::clamp<std::int64_t>(g.tiles() / kSliceTiles, 1, std::min(affordable, kMaxWorkers));
  }
  std::int64_t sums_size() const {
    return kFrequencies * layout_.out_blocks * kWidth * layout_.channels;
  }
  std::int64_t scratch_size() const { return layout_.in_size() + layout_.out_size(); }

  const T* x_;
  const T* dy_;
  Geometry g_;
  BlockLayout layout_;
  std::int64_t slices_, parts_;
  ZeroRow<T> zeros_;
  Workspace<T> sums_, scratch_;
  BiasSums bias_;
};

/// Calls body<kVectors>() for the vectors of output channels in a tile.
template <typename T, typename Body>
void with_vectors(std::int64_t out_channels, const Body& body) {
  out_channels > kLanes<T> ? body.template operator()<2>() : body.template operator()<1>();
}

template <typename T>
void correlate(T* out, const T* source, const Filter<T>& w, const Geometry& g,
               const FilterView& view, const Conv2dEpilogue<T>& epilogue) {
  with_vectors<T>(g.out_channels, [&]<int kVectors>() {
    if (is_filter_large(g)) {
      correlate_by_outputs<kVectors>(out, source, w.elements, g, view, epilogue);
      const OutputMoments<T> moments(epilogue.statistics, 1, g.out_channels);
      moments.take(0, out, g, {0, g.tiles()});
      moments.finish();
      return;
    }
    const Correlation<kVectors, T> correlation(out, source, w, g, view, epilogue, kMaxWorkers);
    const std::int64_t size = correlation.block_tiles(), blocks = ceil_div(g.tiles(), size);
    const OutputMoments<T> moments(epilogue.statistics, blocks, g.out_channels);
    parallel_for_workers(blocks, kMaxWorkers, [&](std::int64_t block, std::int64_t worker) {
      const Range tiles{block * size, std::min(g.tiles(), (block + 1) * size)};
      correlation.compute(tiles, worker);
      moments.take(block, out, g, tiles);
    });
    moments.finish();
  });
}

FilterView filter_view(const Conv2dShape& s) {
  return {.outputs = s.k,
          .inputs = s.c,
          .output_stride = 9 * s.c,
          .input_stride = 1,
          .tap_stride = s.c};
}

FilterView turned_filter_view(const Conv2dShape& s) {
  return {.outputs = s.c,
          .inputs = s.k,
          .output_stride = 1,
          .input_stride = 9 * s.c,
          .tap_stride = s.c,
          .turned = true};
}

Geometry forward_geometry(const Conv2dShape& s) {
  return {s.n, s.h, s.w, s.c, s.pad_h, s.pad_w, s.p, s.q, s.k};
}

Geometry backward_geometry(const Conv2dShape& s) {
  return {s.n, s.p, s.q, s.k, 2 - s.pad_h, 2 - s.pad_w, s.h, s.w, s.c};
}

}  // namespace

template <typename T>
void winograd_forward(T* y, const T* x, const Filter<T>& w, const Conv2dShape& s,
                      const Conv2dEpilogue<T>& epilogue) {
  correlate(y, x, w, forward_geometry(s), filter_view(s), epilogue);
}

template <typename T>
void winograd_backward_input(T* dx, const T* dy, const Filter<T>& w, const Conv2dShape& s,
                             const Conv2dEpilogue<T>& epilogue) {
  correlate(dx, dy, w, backward_geometry(s), turned_filter_view(s), epilogue);
}

template <typename T>
void winograd_backward_weight(T* dw, const T* x, const T* dy, const Conv2dShape& s, bool accumulate,
                              double* dy_sums) {
  const Geometry g = forward_geometry(s);
  with_vectors<T>(s.k, [&]<int kVectors>() {
    if (is_filter_large(g)) {
      filter_gradient_by_outputs<kVectors>(dw, x, dy, g, filter_view(s), accumulate, dy_sums);
      return;
    }
    FilterGradient<kVectors, T> gradient(x, dy, g, dy_sums);
    const std::int64_t tasks = gradient.tasks();
    parallel_for_workers(tasks, tasks, [&](std::int64_t task, std::int64_t worker) {
      gradient.add(task, gradient.tiles_of(task), worker);
    });
    gradient.finish(dw, filter_view(s), accumulate);
  });
}

template <typename T>
void winograd_backward(T* dx, T* dw, const T* x, const T* dy, const T* w, const Conv2dShape& s,
                       const Conv2dEpilogue<T>& epilogue, bool accumulate, double* dy_sums) {
  // With as many tiles on either side, both gradients are taken of a few tiles at a time: these, of
  // dy and of x (which is often the epilogue's mask), are then in the L2 cache the second time.
  constexpr std::int64_t kStepBytes = 256 << 10;
  const std::int64_t step = std::max<std::int64_t>(
      64, kStepBytes / (kTile * kTile * s.k * static_cast<std::int64_t>(sizeof(T))) / 64 * 64);
  with_vectors<T>(s.k, [&]<int kVectors>() {
    FilterGradient<kVectors, T> gradient(x, dy, forward_geometry(s), dy_sums);
    const std::int64_t tasks = gradient.tasks();
    with_vectors<T>(s.c, [&]<int kInVectors>() {
      const Correlation<kInVectors, T> correlation(dx, dy, {w}, backward_geometry(s),
                                                   turned_filter_view(s), epilogue, tasks);
      parallel_for_workers(tasks, tasks, [&](std::int64_t task, std::int64_t worker) {
        const Range tiles = gradient.tiles_of(task);
        for (std::int64_t first = tiles.first; first < tiles.last; first += step) {
          const Range some{first, std::min(tiles.last, first + step)};
          gradient.add(task, some, worker);
          if (gradient.is_first_of_slice(task)) correlation.compute(some, worker);
        }
      });
    });
    gradient.finish(dw, filter_view(s), accumulate);
  });
}

#define ATTUNE_INSTANTIATE(T)                                                               \
  template void winograd_forward(T*, const T*, const Filter<T>&, const Conv2dShape&,        \
                                 const Conv2dEpilogue<T>&);                                 \
  template void winograd_backward_input(T*, const T*, const Filter<T>&, const Conv2dShape&, \
                                        const Conv2dEpilogue<T>&);                          \
  template void winograd_backward_weight(T*, const T*, const T*, const Conv2dShape&, bool,  \
                                         double*);                                          \
  template void winograd_backward(T*, T*, const T*, const T*, const T*, const Conv2dShape&, \
                                  const Conv2dEpilogue<T>&, bool, double*);
ATTUNE_INSTANTIATE(float)
ATTUNE_INSTANTIATE(double)

}  // namespace attune::kernels::cpu::ATTUNE_ISA
