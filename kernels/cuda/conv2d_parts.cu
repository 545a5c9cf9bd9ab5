#include <algorithm>
#include <limits>
#include <string>

#include "attune/kernels/cuda/conv2d_parts.h"
#include "attune/kernels/cuda/reduce_middle.h"
#include "attune/kernels/error.h"

namespace attune::kernels::cuda {
namespace {

ConvProblem problem(const Conv2dShape& s, bool backward_input) {
  const std::int64_t largest = std::max({s.n * s.h * s.w, s.output_pixels(), s.filter_count()});
  if (largest > std::numeric_limits<int>::max()) {
    throw Error("conv2d: " + std::to_string(largest) +
                " pixels, or elements of a filter, are more than the CUDA kernels can count");
  }
  const auto narrow = [](std::int64_t v) { return static_cast<int>(v); };
  const ConvAxis vertical{narrow(s.h),        narrow(s.p),     narrow(s.r),
                          narrow(s.stride_h), narrow(s.pad_h), narrow(s.dilation_h)};
  const ConvAxis horizontal{narrow(s.w),        narrow(s.q),     narrow(s.s),
                            narrow(s.stride_w), narrow(s.pad_w), narrow(s.dilation_w)};
  const int channels = narrow(s.channels_per_group());
  const int filters = narrow(s.filters_per_group());
  return {backward_input,
          narrow(s.n),
          narrow(s.groups),
          vertical,
          horizontal,
          backward_input ? filters : channels,
          backward_input ? channels : filters};
}

/// out [rows, to] = in [rows, from], and zeros.
void pad_channels(float* out, const float* in, std::int64_t rows, int from, int to) {
  for_each(rows * to, [=] __device__(std::int64_t i) {
    const std::int64_t row = i / to, channel = i % to;
    out[i] = channel < from ? in[row * from + channel] : 0;
  });
}

/// What is known of n values, in double: a large mean would leave floats few digits of a deviation.
struct Merged {
  double n = 0, mean = 0, m2 = 0;

  /// Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
  /// variances", 1979.
  __device__ void add(const Merged& other) {
    if (other.n == 0) return;
    const double all = n + other.n, delta = other.mean - mean;
    mean += delta * (other.n / all);
    m2 += other.m2 + delta * delta * (n * other.n / all);
    n = all;
  }
};

}  // namespace

ConvProblem forward_problem(const Conv2dShape& shape) { return problem(shape, false); }
ConvProblem backward_input_problem(const Conv2dShape& shape) { return problem(shape, true); }

InFours::InFours(const float* data, std::int64_t rows, int channels)
    : data_(data),
      channels_(ceil_div(channels, 4) * 4),
      copy_(channels_ == channels ? 0 : rows * channels_) {
  if (copy_.data()) pad_channels(copy_.data(), data, rows, channels, channels_);
}

void transpose_filter(float* out, const float* w, const ConvProblem& problem, int filters) {
  const int taps = problem.taps(), channels = problem.filters, depth = problem.depth;
  for_each(static_cast<std::int64_t>(problem.groups) * channels * taps * depth,
           [=] __device__(std::int64_t i) {
             const std::int64_t k = i % depth, tap = i / depth % taps, c = i / depth / taps;
             const std::int64_t filter = c / channels * filters + k;
             out[i] = k < filters ? w[(filter * taps + tap) * channels + c % channels] : 0;
           });
}

void add_parts(float* sum, std::int64_t size, const Parts& parts, bool accumulate) {
  for_each(size, [=] __device__(std::int64_t i) {
    const float* part = parts.data + i / parts.piece * parts.padded_piece + i % parts.piece;
    float total = accumulate ? sum[i] : 0;
    for (int p = 0; p < parts.count; ++p) total += part[p * parts.size];
    sum[i] = total;
  });
}

void merge_moments(const Conv2dStatistics<float>& statistics, const Moments* parts, int count,
                   int channels, int rows, int part_rows) {
  reduce_middle<Merged>(
      {1, count, channels},
      [=] __device__(Merged & merged, std::int64_t, std::int64_t part, std::int64_t channel) {
        const Moments& moments = parts[part * channels + channel];
        const std::int64_t left = rows - part * part_rows;
        const std::int64_t n = left < part_rows ? (left < 0 ? 0 : left) : part_rows;
        merged.add({static_cast<double>(n), moments.mean, moments.m2});
      },
      [=] __device__(std::int64_t channel, const Merged& merged) {
        statistics.mean[channel] = static_cast<float>(merged.mean);
        statistics.var[channel] = static_cast<float>(merged.m2 / merged.n);
      });
}

int weight_splits(int pixels, std::int64_t tiles, std::int64_t part_size) {
  constexpr std::int64_t kBlocks = 512;     // some four for each multiprocessor of a large GPU
  constexpr std::int64_t kMinPixels = 256;  // a block has to be worth its part
  constexpr std::int64_t kMaxElements = 8 << 20;  // of all parts, unless one alone has more
  const std::int64_t most =
      std::min({kBlocks / tiles, pixels / kMinPixels, kMaxElements / part_size});
  return static_cast<int>(std::max<std::int64_t>(most, 1));
}

}  // namespace attune::kernels::cuda
