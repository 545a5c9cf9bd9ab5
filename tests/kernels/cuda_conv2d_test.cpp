#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "attune/kernels/conv2d.h"
#include "attune/kernels/cuda/conv2d_naive.h"
#include "attune/kernels/cuda_precision.h"
#include "attune/kernels/error.h"
#include "attune/kernels/memory.h"
#include "attune/kernels/reference/batch_norm.h"
#include "attune/kernels/reference/conv2d.h"
#include "tests/catch.h"
#include "tests/kernels/conv2d_cases.h"
#include "tests/kernels/kernel_test.h"
#include "tests/kernels/on_gpu.h"
#if ATTUNE_TEST_EMULATION
#include "tests/emulation/instructions.h"
#endif

// The convolutions of kernels/cuda, in every precision, against the reference.

namespace attune::kernels {
namespace {

using test::OnGpu;

constexpr Device kGpu = Device::cuda(0);
/// Few and small ones: kernels that are emulated compute about 1 Gflop a second, under
/// ThreadSanitizer a fiftieth of that.
std::vector<Conv2dShape> shapes(std::uint64_t random_ones) {
  std::vector<Conv2dShape> shapes = test::conv2d_shapes(random_ones);
  std::erase_if(shapes, [](const Conv2dShape& shape) { return shape.flops() > 10'000'000; });
  return shapes;
}
constexpr std::uint64_t kRandomShapes = 25;

/// Chooses the precision, and undoes the choice at the end of the scope.
class PrecisionScope {
 public:
  explicit PrecisionScope(CudaPrecision precision) : before_(cuda_precision()) {
    set_cuda_precision(precision);
  }
  ~PrecisionScope() { set_cuda_precision(before_); }
  PrecisionScope(const PrecisionScope&) = delete;
  PrecisionScope& operator=(const PrecisionScope&) = delete;

 private:
  CudaPrecision before_;
};

template <typename Body>
void for_each_precision(const Body& body) {
  for (const auto precision : {CudaPrecision::fp32, CudaPrecision::tf32, CudaPrecision::bf16}) {
    const PrecisionScope scope(precision);
    INFO(to_string(precision));
    body(precision);
  }
}

/// How far results may be from the reference, relative to the largest: two to four times the worst
/// error seen, which is that of sums of few terms, where the roundings of factors do not average
/// out, after a normalisation that makes them larger.
template <typename T>
double precision_tolerance(CudaPrecision precision) {
  if (std::is_same_v<T, double> || precision == CudaPrecision::fp32) return test::tolerance<T>();
  return precision == CudaPrecision::tf32 ? 2e-3 : 2e-2;
}

/// An output that shows what a kernel leaves unwritten.
template <typename T>
test::Vector<T> unwritten(std::int64_t count) {
  return test::Vector<T>(static_cast<std::size_t>(count), std::numeric_limits<T>::quiet_NaN());
}

/// Runs `on_gpu` and `reference`, each with an output and an epilogue, and compares the outputs and
/// what they keep from before the normalisation.
template <typename T, typename GpuPass, typename ReferencePass>
void check_with_epilogue(std::int64_t count, std::int64_t channels, std::uint64_t choice,
                         double tolerance, const GpuPass& on_gpu, const ReferencePass& reference) {
  const test::EpilogueCase<T> steps(count, channels, choice % test::kEpilogues);
  auto expected = unwritten<T>(count);
  const Conv2dEpilogue<T> host = steps.prepare(expected);
  const OnGpu<T> out(expected), y(steps.y);
  const OnGpu<T> bias(steps.bias), residual(steps.residual), mask(steps.mask);
  const OnGpu<T> mean(steps.mean), slope(steps.slope), shift(steps.shift);
  Conv2dEpilogue<T> gpu{.bias = bias.data(),
                        .norm = {y.data(), mean.data(), slope.data(), shift.data()},
                        .residual = steps.in_place ? out.data() : residual.data(),
                        .relu = steps.relu,
                        .mask = mask.data()};
  on_gpu(out.data(), gpu);
  reference(expected.data(), host);
  CHECK(test::relative_error(out.values(), expected) <= tolerance);
  CHECK(test::relative_error(y.values(), steps.y) <= tolerance);
}

template <typename T>
void check_forward(const Conv2dShape& shape, std::uint64_t seed, double tolerance) {
  const auto x = test::random_values<T>(shape.input_count(), seed);
  const auto w = test::random_values<T>(shape.filter_count(), seed + 1);
  const OnGpu<T> gpu_x(x), gpu_w(w);
  check_with_epilogue<T>(
      shape.output_count(), shape.k, seed, tolerance,
      [&](T* y, const auto& epilogue) {
        conv2d_forward(kGpu, y, gpu_x.data(), gpu_w.data(), shape, epilogue);
      },
      [&](T* y, const auto& epilogue) {
        reference::conv2d_forward(y, x.data(), w.data(), shape, epilogue);
      });
}

template <typename T>
void check_backward_input(const Conv2dShape& shape, std::uint64_t seed, double tolerance) {
  const auto dy = test::random_values<T>(shape.output_count(), seed);
  const auto w = test::random_values<T>(shape.filter_count(), seed + 1);
  const OnGpu<T> gpu_dy(dy), gpu_w(w);
  check_with_epilogue<T>(
      shape.input_count(), shape.c, seed, tolerance,
      [&](T* dx, const auto& epilogue) {
        conv2d_backward_input(kGpu, dx, gpu_dy.data(), gpu_w.data(), shape, epilogue);
      },
      [&](T* dx, const auto& epilogue) {
        reference::conv2d_backward_input(dx, dy.data(), w.data(), shape, epilogue);
      });
}

template <typename T>
void check_backward_weight(const Conv2dShape& shape, std::uint64_t seed, double tolerance) {
  const auto x = test::random_values<T>(shape.input_count(), seed);
  const auto dy = test::random_values<T>(shape.output_count(), seed + 1);
  const OnGpu<T> gpu_x(x), gpu_dy(dy);
  for (const bool accumulate : {false, true}) {
    auto dw = accumulate ? test::random_values<T>(shape.filter_count(), seed + 2)
                         : unwritten<T>(shape.filter_count());
    // The bias the other way round, that the two cannot be confused.
    auto db = accumulate ? unwritten<T>(shape.k) : test::random_values<T>(shape.k, seed + 3);
    const OnGpu<T> gpu_dw(dw), gpu_dw_alone(dw), gpu_db(db);
    conv2d_backward_weight(kGpu, gpu_dw.data(), gpu_x.data(), gpu_dy.data(), shape, accumulate,
                           {gpu_db.data(), !accumulate});
    conv2d_backward_weight(kGpu, gpu_dw_alone.data(), gpu_x.data(), gpu_dy.data(), shape,
                           accumulate);
    reference::conv2d_backward_weight(dw.data(), x.data(), dy.data(), shape, accumulate,
                                      {db.data(), !accumulate});
    CHECK(test::relative_error(gpu_dw.values(), dw) <= tolerance);
    CHECK(test::relative_error(gpu_db.values(), db) <= test::tolerance<T>());
    CHECK(gpu_dw_alone.values() == gpu_dw.values());
  }
}

template <typename T>
void check_all_passes(const Conv2dShape& shape, std::uint64_t seed, CudaPrecision precision) {
  const double tolerance = precision_tolerance<T>(precision);
  check_forward<T>(shape, seed, tolerance);
  check_backward_input<T>(shape, seed, tolerance);
  check_backward_weight<T>(shape, seed, tolerance);
}

TEST_CASE("cuda conv2d: all passes are the reference's, in every precision") {
  for_each_precision([](CudaPrecision precision) {
    std::uint64_t seed = 0;
    for (const Conv2dShape& shape : shapes(kRandomShapes)) {
      INFO("case " << seed << ": " << test::to_string(shape));
      check_all_passes<float>(shape, seed++, precision);
    }
  });
}

TEST_CASE("cuda conv2d: all passes of doubles, whatever the precision of floats") {
  const PrecisionScope scope(CudaPrecision::bf16);
  std::uint64_t seed = 0;
  for (const Conv2dShape& shape : shapes(kRandomShapes)) {
    INFO("case " << seed << ": " << test::to_string(shape));
    check_all_passes<double>(shape, seed++, CudaPrecision::bf16);
  }
}

TEST_CASE("cuda conv2d: every epilogue, with even and odd numbers of channels") {
  const auto shape = [](std::int64_t c, std::int64_t k) {
    return make_conv2d_shape("test", {1, 5, 7, c}, {k, 3, 3, c}, {{2, 1}, {1, 1}, {1, 1}, 1});
  };
  for_each_precision([&](CudaPrecision precision) {
    for (std::uint64_t choice = 0; choice < test::kEpilogues; ++choice) {
      INFO("epilogue " << choice);
      for (const auto& s : {shape(12, 20), shape(7, 9)}) {
        check_forward<float>(s, choice, precision_tolerance<float>(precision));
        check_backward_input<float>(s, choice, precision_tolerance<float>(precision));
      }
    }
  });
}

/// A 3x3 convolution whose width decides on the tile.
Conv2dShape shape_of_tile(std::int64_t n, std::int64_t size, std::int64_t c, std::int64_t k) {
  return make_conv2d_shape("test", {n, size, size, c}, {k, 3, 3, c}, {{1, 1}, {1, 1}, {1, 1}, 1});
}

TEST_CASE("cuda conv2d: every tile of the tensor cores") {
  for (const auto precision : {CudaPrecision::tf32, CudaPrecision::bf16}) {
    const PrecisionScope scope(precision);
    std::uint64_t seed = 7;
    for (const std::int64_t k : {16, 32, 64, 72}) {
      INFO(to_string(precision) << ", " << k << " filters");
      check_all_passes<float>(shape_of_tile(2, 9, 20, k), seed++, precision);
    }
    // The larger tiles are for when there is work for many blocks.
    for (const std::int64_t k : {40, 128}) {
      INFO(to_string(precision) << ", " << k << " filters, many pixels");
      check_forward<float>(shape_of_tile(8, 64, 12, k), seed++,
                           precision_tolerance<float>(precision));
    }
  }
}

TEST_CASE("cuda conv2d: the plain kernels are the reference's, also where others are chosen") {
  for (const Conv2dShape& shape : shapes(0)) {
    INFO(test::to_string(shape));
    const auto x = test::random_values<float>(shape.input_count(), 1);
    const auto w = test::random_values<float>(shape.filter_count(), 2);
    const auto dy = test::random_values<float>(shape.output_count(), 3);
    auto y = unwritten<float>(shape.output_count()), dx = unwritten<float>(shape.input_count());
    auto dw = unwritten<float>(shape.filter_count());
    const OnGpu<float> gpu_x(x), gpu_w(w), gpu_dy(dy), gpu_y(y), gpu_dx(dx), gpu_dw(dw);
    cuda::naive::conv2d_forward(gpu_y.data(), gpu_x.data(), gpu_w.data(), shape, {});
    cuda::naive::conv2d_backward_input(gpu_dx.data(), gpu_dy.data(), gpu_w.data(), shape, {});
    cuda::naive::conv2d_backward_weight(gpu_dw.data(), gpu_x.data(), gpu_dy.data(), shape, false,
                                        {});
    reference::conv2d_forward(y.data(), x.data(), w.data(), shape, {});
    reference::conv2d_backward_input(dx.data(), dy.data(), w.data(), shape, {});
    reference::conv2d_backward_weight(dw.data(), x.data(), dy.data(), shape, false, {});
    CHECK(test::relative_error(gpu_y.values(), y) <= test::tolerance<float>());
    CHECK(test::relative_error(gpu_dx.values(), dx) <= test::tolerance<float>());
    CHECK(test::relative_error(gpu_dw.values(), dw) <= test::tolerance<float>());
  }
}

void check_statistics(const Conv2dShape& shape, float offset) {
  const OnGpu<float> x(test::random_values<float>(shape.input_count(), 1));
  const OnGpu<float> w(test::random_values<float>(shape.filter_count(), 2));
  const OnGpu<float> bias(test::Vector<float>(static_cast<std::size_t>(shape.k), offset));
  const OnGpu<float> y(unwritten<float>(shape.output_count()));
  auto mean = unwritten<float>(shape.k), var = mean;
  const OnGpu<float> gpu_mean(mean), gpu_var(var);
  conv2d_forward(kGpu, y.data(), x.data(), w.data(), shape,
                 {.bias = bias.data(), .statistics = {gpu_mean.data(), gpu_var.data()}});
  const auto stored = y.values();
  reference::batch_norm_statistics(mean.data(), var.data(), stored.data(), shape.output_pixels(),
                                   shape.k);
  // Means cancel: they are small beside what is added up.
  const double tolerance = 10 * test::tolerance<float>();
  CHECK(test::relative_error(gpu_mean.values(), mean) <= tolerance);
  CHECK(test::relative_error(gpu_var.values(), var) <= tolerance);
}

TEST_CASE("cuda conv2d: statistics of the output, also where the mean is large") {
  for_each_precision([](CudaPrecision) {
    for (const Conv2dShape& shape : shapes(0)) {
      INFO(test::to_string(shape));
      check_statistics(shape, 0);
      check_statistics(shape, 3000);
    }
  });
}

TEST_CASE("cuda conv2d: conv2d_backward is both passes") {
  const Conv2dShape shape =
      make_conv2d_shape("test", {2, 9, 8, 12}, {20, 3, 3, 12}, {{1, 1}, {1, 1}, {1, 1}, 1});
  for_each_precision([&](CudaPrecision) {
    const OnGpu<float> x(test::random_values<float>(shape.input_count(), 1));
    const OnGpu<float> w(test::random_values<float>(shape.filter_count(), 2));
    const OnGpu<float> dy(test::random_values<float>(shape.output_count(), 3));
    const OnGpu<float> dx(unwritten<float>(shape.input_count())), dx_apart(dx.values());
    const OnGpu<float> dw(unwritten<float>(shape.filter_count())), dw_apart(dw.values());
    const OnGpu<float> db(unwritten<float>(shape.k)), db_apart(db.values());
    conv2d_backward(kGpu, dx.data(), dw.data(), x.data(), dy.data(), w.data(), shape,
                    {.mask = x.data()}, false, {db.data()});
    conv2d_backward_input(kGpu, dx_apart.data(), dy.data(), w.data(), shape, {.mask = x.data()});
    conv2d_backward_weight(kGpu, dw_apart.data(), x.data(), dy.data(), shape, false,
                           {db_apart.data()});
    CHECK(dx.values() == dx_apart.values());
    CHECK(dw.values() == dw_apart.values());
    CHECK(db.values() == db_apart.values());
  });
}

TEST_CASE("cuda conv2d: a NaN in the input reaches the output through a ReLU") {
  const Conv2dShape shape = make_conv2d_shape("test", {1, 1, 1, 1}, {1, 1, 1, 1}, {});
  const OnGpu<float> x({std::numeric_limits<float>::quiet_NaN()}), w({1}), y({0});
  for_each_precision([&](CudaPrecision) {
    conv2d_forward(kGpu, y.data(), x.data(), w.data(), shape, {.relu = true});
    CHECK(std::isnan(y.values()[0]));
  });
}

TEST_CASE("cuda conv2d: the precision changes results where tensor cores are used, only there") {
  const auto result = [](const Conv2dShape& shape, CudaPrecision precision) {
    const PrecisionScope scope(precision);
    const OnGpu<float> x(test::random_values<float>(shape.input_count(), 1));
    const OnGpu<float> w(test::random_values<float>(shape.filter_count(), 2));
    const OnGpu<float> y(unwritten<float>(shape.output_count()));
    conv2d_forward(kGpu, y.data(), x.data(), w.data(), shape);
    return y.values();
  };
  const auto shape = [](std::int64_t groups) {
    return make_conv2d_shape("test", {1, 5, 5, 16}, {16, 3, 3, 16 / groups},
                             {{1, 1}, {1, 1}, {1, 1}, groups});
  };
  CHECK(cuda_precision() == CudaPrecision::fp32);
  const auto fp32 = result(shape(1), CudaPrecision::fp32);
  const auto tf32 = result(shape(1), CudaPrecision::tf32);
  const auto bf16 = result(shape(1), CudaPrecision::bf16);
  CHECK(fp32 != tf32);
  CHECK(tf32 != bf16);
  CHECK(test::relative_error(tf32, fp32) < test::relative_error(bf16, fp32));
  for (const std::int64_t groups : {2, 16}) {
    CHECK(result(shape(groups), CudaPrecision::fp32) == result(shape(groups), CudaPrecision::bf16));
  }
}

TEST_CASE("cuda conv2d: results and workspace are the same every time") {
  const auto run = [](const Conv2dShape& shape) {
    const OnGpu<float> x(test::random_values<float>(shape.input_count(), 1));
    const OnGpu<float> w(test::random_values<float>(shape.filter_count(), 2));
    const OnGpu<float> dy(test::random_values<float>(shape.output_count(), 3));
    const OnGpu<float> y(dy.values()), dx(x.values()), dw(w.values());
    const OnGpu<float> db(unwritten<float>(shape.k)), mean(db.values()), var(db.values());
    const auto live = memory_stats(kGpu)[MemoryPurpose::workspace].live;
    reset_peak_memory(kGpu);
    conv2d_forward(kGpu, y.data(), x.data(), w.data(), shape,
                   {.statistics = {mean.data(), var.data()}});
    conv2d_backward_input(kGpu, dx.data(), dy.data(), w.data(), shape);
    conv2d_backward_weight(kGpu, dw.data(), x.data(), dy.data(), shape, false, {db.data()});
    const auto workspace = memory_stats(kGpu)[MemoryPurpose::workspace];
    CHECK(workspace.live == live);
    return std::vector{y.values(),
                       dx.values(),
                       dw.values(),
                       db.values(),
                       mean.values(),
                       var.values(),
                       {static_cast<float>(workspace.peak - live)}};
  };
  for_each_precision([&](CudaPrecision) {
    for (const Conv2dShape& shape : shapes(0)) {
      INFO(test::to_string(shape));
      const auto expected = run(shape);
#if ATTUNE_TEST_EMULATION  // in whatever order blocks and threads take their turns
      for (const char* seed : {"2", "3"}) {
        setenv("ATTUNE_EMULATION_SEED", seed, 1);
        CHECK(run(shape) == expected);
        unsetenv("ATTUNE_EMULATION_SEED");
      }
#else
      CHECK(run(shape) == expected);
#endif
    }
  });
}

#if ATTUNE_TEST_EMULATION
TEST_CASE("cuda conv2d: ldmatrix finds each row of a fragment in other banks") {
  const PrecisionScope scope(CudaPrecision::tf32);
  const long before = emulation::bank_conflicts;
  for (const std::int64_t k : {16, 32, 64}) {
    check_forward<float>(shape_of_tile(1, 9, 12, k), 1,
                         precision_tolerance<float>(CudaPrecision::tf32));
    CHECK(emulation::bank_conflicts == before);
  }
}
#endif

TEST_CASE("cuda conv2d: precisions go by their names") {
  for (const auto precision : {CudaPrecision::fp32, CudaPrecision::tf32, CudaPrecision::bf16}) {
    CHECK(parse_cuda_precision(to_string(precision)) == precision);
  }
  CHECK(test::message_of<Error>([] { parse_cuda_precision("fp8"); }) ==
        "there is no CUDA precision 'fp8': choose fp32, tf32 or bf16");
}

}  // namespace
}  // namespace attune::kernels
