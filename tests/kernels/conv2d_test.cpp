#include "attune/kernels/conv2d.h"

#include <algorithm>
#include <utility>

#include "attune/kernels/error.h"
#include "attune/kernels/kept_results.h"
#include "attune/kernels/memory.h"
#include "attune/kernels/reference/batch_norm.h"
#include "attune/kernels/reference/conv2d.h"
#include "attune/kernels/threads.h"
#include "tests/catch.h"
#include "tests/kernels/conv2d_cases.h"
#include "tests/kernels/kernel_test.h"

// The fast convolution kernels against the reference ones, in every combination of options.

namespace attune::kernels {
namespace {

constexpr std::uint64_t kRandomShapes = 150;

/// An output that shows what a kernel leaves unwritten.
template <typename T>
test::Vector<T> unwritten(std::int64_t count) {
  return test::Vector<T>(static_cast<std::size_t>(count), std::numeric_limits<T>::quiet_NaN());
}

template <typename T>
void check_forward(const Conv2dShape& shape, std::uint64_t seed, double tolerance) {
  const auto x = test::random_values<T>(shape.input_count(), seed);
  const auto w = test::random_values<T>(shape.filter_count(), seed + 1);
  const test::EpilogueCase<T> steps(shape.output_count(), shape.k, seed % test::kEpilogues);
  auto y = unwritten<T>(shape.output_count()), expected = y;
  conv2d_forward(test::test_device(), y.data(), x.data(), w.data(), shape, steps.prepare(y));
  const auto before_norm = steps.y;
  reference::conv2d_forward(expected.data(), x.data(), w.data(), shape, steps.prepare(expected));
  CHECK(test::relative_error(y, expected) <= tolerance);
  if (steps.keep_y) CHECK(test::relative_error(before_norm, steps.y) <= tolerance);
}

template <typename T>
void check_backward_input(const Conv2dShape& shape, std::uint64_t seed, double tolerance) {
  const auto dy = test::random_values<T>(shape.output_count(), seed);
  const auto w = test::random_values<T>(shape.filter_count(), seed + 1);
  const test::EpilogueCase<T> steps(shape.input_count(), shape.c, seed % test::kEpilogues);
  auto dx = unwritten<T>(shape.input_count()), expected = dx;
  conv2d_backward_input(test::test_device(), dx.data(), dy.data(), w.data(), shape,
                        steps.prepare(dx));
  reference::conv2d_backward_input(expected.data(), dy.data(), w.data(), shape,
                                   steps.prepare(expected));
  CHECK(test::relative_error(dx, expected) <= tolerance);
}

template <typename T>
void check_backward_weight(const Conv2dShape& shape, std::uint64_t seed, double tolerance) {
  const auto x = test::random_values<T>(shape.input_count(), seed);
  const auto dy = test::random_values<T>(shape.output_count(), seed + 1);
  for (const bool accumulate : {false, true}) {
    auto dw = accumulate ? test::random_values<T>(shape.filter_count(), seed + 2)
                         : unwritten<T>(shape.filter_count());
    auto expected = dw;
    // The bias the other way round, that the two cannot be confused.
    auto db = accumulate ? unwritten<T>(shape.k) : test::random_values<T>(shape.k, seed + 3);
    auto expected_db = db;
    conv2d_backward_weight(test::test_device(), dw.data(), x.data(), dy.data(), shape, accumulate,
                           {db.data(), !accumulate});
    reference::conv2d_backward_weight(expected.data(), x.data(), dy.data(), shape, accumulate,
                                      {expected_db.data(), !accumulate});
    CHECK(test::relative_error(dw, expected) <= tolerance);
    CHECK(test::relative_error(db, expected_db) <= test::tolerance<T>());
    auto alone = accumulate ? test::random_values<T>(shape.filter_count(), seed + 2) : dw;
    conv2d_backward_weight(test::test_device(), alone.data(), x.data(), dy.data(), shape,
                           accumulate);
    CHECK(alone == dw);
  }
}

template <typename T>
void check_backward_bias(std::int64_t pixels, std::int64_t channels) {
  const auto dy = test::random_values<T>(pixels * channels, 7);
  for (const bool accumulate : {false, true}) {
    auto db = accumulate ? test::random_values<T>(channels, 8) : unwritten<T>(channels);
    auto expected = db;
    conv2d_backward_bias(test::test_device(), db.data(), dy.data(), pixels, channels, accumulate);
    reference::conv2d_backward_bias(expected.data(), dy.data(), pixels, channels, accumulate);
    CHECK(test::relative_error(db, expected) <= test::tolerance<T>());
  }
}

TEST_CASE("conv2d: forward is the reference's, with every epilogue") {
  test::for_each_conv_path([](ConvAlgorithm algorithm) {
    std::uint64_t seed = 0;
    for (const Conv2dShape& shape : test::conv2d_shapes(kRandomShapes)) {
      INFO("case " << seed << ": " << test::to_string(shape));
      check_forward<float>(shape, seed, test::conv_tolerance<float>(algorithm));
      check_forward<double>(shape, seed++, test::conv_tolerance<double>(algorithm));
    }
  });
}

TEST_CASE("conv2d: every epilogue where the sums are taken in chunks") {
  // 9 taps of 48 channels are more than the direct convolution takes in one go.
  const Conv2dShape shape =
      make_conv2d_shape("test", {1, 5, 7, 48}, {20, 3, 3, 48}, {{2, 1}, {1, 1}, {1, 1}, 1});
  test::for_each_conv_path([&](ConvAlgorithm algorithm) {
    for (std::uint64_t choice = 0; choice < test::kEpilogues; ++choice) {
      INFO("epilogue " << choice);
      check_forward<float>(shape, choice, test::conv_tolerance<float>(algorithm));
    }
  });
}

template <typename T>
void check_statistics(const Conv2dShape& shape, T offset) {
  const auto x = test::random_values<T>(shape.input_count(), 1);
  const auto w = test::random_values<T>(shape.filter_count(), 2);
  const test::Vector<T> bias(static_cast<std::size_t>(shape.k), offset);
  test::Vector<T> y(static_cast<std::size_t>(shape.output_count()));
  auto mean = unwritten<T>(shape.k), var = mean, expected_mean = mean, expected_var = mean;
  conv2d_forward(test::test_device(), y.data(), x.data(), w.data(), shape,
                 {.bias = bias.data(), .statistics = {mean.data(), var.data()}});
  reference::batch_norm_statistics(expected_mean.data(), expected_var.data(), y.data(),
                                   shape.output_pixels(), shape.k);
  // Means cancel: they are small beside what is added up.
  const double tolerance = 10 * test::tolerance<T>();
  CHECK(test::relative_error(mean, expected_mean) <= tolerance);
  CHECK(test::relative_error(var, expected_var) <= tolerance);
}

TEST_CASE("conv2d: statistics of the output, also where the mean is large beside the deviation") {
  test::for_each_conv_path([](ConvAlgorithm) {
    for (const Conv2dShape& shape : test::notable_conv2d_shapes()) {
      INFO(test::to_string(shape));
      check_statistics<float>(shape, 0);
      check_statistics<float>(shape, 3000);  // the oracle, in double, has digits enough for that
      check_statistics<double>(shape, 0);
    }
  });
}

TEST_CASE("conv2d: backward_input is the reference's, with every epilogue") {
  test::for_each_conv_path([](ConvAlgorithm algorithm) {
    std::uint64_t seed = 0;
    for (const Conv2dShape& shape : test::conv2d_shapes(kRandomShapes)) {
      INFO("case " << seed << ": " << test::to_string(shape));
      check_backward_input<float>(shape, seed, test::conv_tolerance<float>(algorithm));
      check_backward_input<double>(shape, seed++, test::conv_tolerance<double>(algorithm));
    }
  });
}

TEST_CASE("conv2d: backward_weight is the reference's, accumulated or not") {
  test::for_each_conv_path([](ConvAlgorithm algorithm) {
    std::uint64_t seed = 0;
    for (const Conv2dShape& shape : test::conv2d_shapes(kRandomShapes)) {
      INFO("case " << seed << ": " << test::to_string(shape));
      check_backward_weight<float>(shape, seed, test::conv_tolerance<float>(algorithm));
      check_backward_weight<double>(shape, seed++, test::conv_tolerance<double>(algorithm));
    }
  });
}

TEST_CASE("conv2d: both gradients in one sweep are the same as one after the other") {
  const auto large = [](std::int64_t c, std::int64_t k, std::int64_t pad) {
    return make_conv2d_shape("test", {32, 33, 32, c}, {k, 3, 3, c},
                             {{1, 1}, {pad, pad}, {1, 1}, 1});
  };
  std::vector<Conv2dShape> shapes = test::notable_conv2d_shapes();
  shapes.insert(shapes.end(), {large(16, 16, 1), large(32, 16, 1), large(16, 48, 1),
                               large(16, 16, 0), large(16, 24, 1)});
  test::for_each_conv_path([&](ConvAlgorithm) {
    std::uint64_t seed = 0;
    for (const Conv2dShape& shape : shapes) {
      INFO(test::to_string(shape));
      const auto x = test::random_values<float>(shape.input_count(), 1);
      const auto w = test::random_values<float>(shape.filter_count(), 2);
      const auto dy = test::random_values<float>(shape.output_count(), 3);
      const test::EpilogueCase<float> steps(shape.input_count(), shape.c, ++seed % 32);
      test::Vector<float> dx(x.size()), dx_apart(x.size()), dw(w.size()), dw_apart(w.size());
      test::Vector<float> db(static_cast<std::size_t>(shape.k)), db_apart(db);
      const bool accumulate = seed % 2 == 0;
      conv2d_backward(test::test_device(), dx.data(), dw.data(), x.data(), dy.data(), w.data(),
                      shape, steps.prepare(dx), accumulate, {db.data()});
      conv2d_backward_input(test::test_device(), dx_apart.data(), dy.data(), w.data(), shape,
                            steps.prepare(dx_apart));
      conv2d_backward_weight(test::test_device(), dw_apart.data(), x.data(), dy.data(), shape,
                             accumulate, {db_apart.data()});
      CHECK(dx == dx_apart);
      CHECK(dw == dw_apart);
      CHECK(test::relative_error(db, db_apart) <= test::tolerance<float>());
    }
  });
}

TEST_CASE("conv2d: backward_bias is the reference's, accumulated or not") {
  for (const std::int64_t pixels : {1, 255, 1000, 5000}) {
    for (const std::int64_t channels : {1, 3, 40}) {
      INFO(pixels << " pixels of " << channels << " channels");
      check_backward_bias<float>(pixels, channels);
      check_backward_bias<double>(pixels, channels);
    }
  }
}

TEST_CASE("conv2d: a NaN in the input reaches the output through a ReLU") {
  const Conv2dShape shape = make_conv2d_shape("test", {1, 1, 1, 1}, {1, 1, 1, 1}, {});
  const test::Vector<float> x{std::numeric_limits<float>::quiet_NaN()}, w{1};
  Conv2dEpilogue<float> epilogue;
  epilogue.relu = true;
  test::Vector<float> y(1);
  test::for_each_conv_path([&](ConvAlgorithm) {
    conv2d_forward(test::test_device(), y.data(), x.data(), w.data(), shape, epilogue);
    CHECK(std::isnan(y[0]));
  });
  reference::conv2d_forward(y.data(), x.data(), w.data(), shape, epilogue);
  CHECK(std::isnan(y[0]));
}

TEST_CASE("conv2d: results and workspace do not depend on the number of threads") {
  test::for_each_conv_path([](ConvAlgorithm) {
    for (const Conv2dShape& shape : test::notable_conv2d_shapes()) {
      INFO(test::to_string(shape));
      const auto x = test::random_values<float>(shape.input_count(), 1);
      const auto w = test::random_values<float>(shape.filter_count(), 2);
      const auto dy = test::random_values<float>(shape.output_count(), 3);
      test::check_same_for_any_threads<float>([&](std::vector<test::Vector<float>>& results) {
        reset_peak_memory(test::test_device());
        test::Vector<float> y(dy.size()), dx(x.size()), dw(w.size());
        test::Vector<float> db(static_cast<std::size_t>(shape.k));
        test::Vector<float> mean(db.size()), var(db.size());
        conv2d_forward(test::test_device(), y.data(), x.data(), w.data(), shape,
                       {.statistics = {mean.data(), var.data()}});
        conv2d_backward_input(test::test_device(), dx.data(), dy.data(), w.data(), shape);
        conv2d_backward_weight(test::test_device(), dw.data(), x.data(), dy.data(), shape, false,
                               {db.data()});
        test::Vector<float> db_alone(db.size());
        conv2d_backward_bias(test::test_device(), db_alone.data(), dy.data(), shape.output_pixels(),
                             shape.k);
        const auto workspace = memory_stats(test::test_device())[MemoryPurpose::workspace];
        CHECK(workspace.live == 0);
        results = {y, mean, var, dx, dw, db, db_alone, {static_cast<float>(workspace.peak)}};
      });
    }
  });
}

TEST_CASE("conv2d: a filter that is kept from call to call changes no bit") {
  test::for_each_conv_path([](ConvAlgorithm) {
    for (const Conv2dShape& shape : test::conv2d_shapes(kRandomShapes)) {
      INFO(test::to_string(shape));
      auto w = test::random_vector<float>(shape.filter_count(), 1);
      const auto run = [&](std::int64_t images, ContentVersion version) {
        Conv2dShape batch = shape;
        batch.n = images;
        const auto x = test::random_vector<float>(batch.input_count(), 2);
        const auto dy = test::random_vector<float>(batch.output_count(), 3);
        auto y = unwritten<float>(batch.output_count()), dx = unwritten<float>(batch.input_count());
        conv2d_forward(Device::cpu, y.data(), x.data(), w.data(), batch, {}, version);
        // Again, ready now, before the other pass prepares the filter its own way.
        conv2d_forward(Device::cpu, y.data(), x.data(), w.data(), batch, {}, version);
        for (int i = 0; i < 2; ++i) {
          conv2d_backward_input(Device::cpu, dx.data(), dy.data(), w.data(), batch, {}, version);
        }
        y.insert(y.end(), dx.begin(), dx.end());
        return y;
      };
      // The same prepared filter serves batches of any size.
      for (const std::int64_t images : {shape.n, shape.n + 5, std::int64_t{1}}) {
        CHECK(run(images, 1) == run(images, {}));
      }
      w.front() += 1;
      CHECK(run(shape.n, 2) == run(shape.n, {}));
      drop_kept_result(w.data());
    }
  });
}

TEST_CASE("conv2d: Winograd's algorithm is used where it applies, and only there") {
  const auto differs = [](const Conv2dShape& shape) {
    const auto x = test::random_values<float>(shape.input_count(), 1);
    const auto w = test::random_values<float>(shape.filter_count(), 2);
    auto direct = unwritten<float>(shape.output_count()), winograd = direct;
    for (auto [algorithm, y] : {std::pair(ConvAlgorithm::direct, &direct),
                                std::pair(ConvAlgorithm::winograd, &winograd)}) {
      const test::ConvPath path(cpu_isa(), algorithm);
      conv2d_forward(Device::cpu, y->data(), x.data(), w.data(), shape);
    }
    return direct != winograd;
  };
  const auto shape = [](std::int64_t channels, std::int64_t filter, const Conv2dOptions& options) {
    return make_conv2d_shape("test", {2, 12, 12, channels},
                             {32, filter, filter, channels / options.groups}, options);
  };
  CHECK(differs(shape(16, 3, {{1, 1}, {1, 1}, {1, 1}, 1})));
  CHECK(differs(shape(16, 3, {{1, 1}, {0, 2}, {1, 1}, 1})));
  CHECK_FALSE(differs(shape(16, 3, {{1, 1}, {3, 1}, {1, 1}, 1})));
  CHECK_FALSE(differs(shape(16, 3, {{2, 1}, {1, 1}, {1, 1}, 1})));
  CHECK_FALSE(differs(shape(16, 3, {{1, 1}, {1, 1}, {1, 2}, 1})));
  CHECK_FALSE(differs(shape(32, 3, {{1, 1}, {1, 1}, {1, 1}, 2})));
  CHECK_FALSE(differs(shape(24, 3, {{1, 1}, {1, 1}, {1, 1}, 1})));
  CHECK_FALSE(differs(shape(16, 1, {{1, 1}, {1, 1}, {1, 1}, 1})));
}

TEST_CASE("conv2d: instruction sets and algorithms go by their names") {
  const std::vector<std::string> isas = available_cpu_isas();
  REQUIRE_FALSE(isas.empty());
  const std::string before = cpu_isa();
  CHECK(std::find(isas.begin(), isas.end(), before) != isas.end());
  for (const std::string& isa : isas) {
    set_cpu_isa(isa);
    CHECK(cpu_isa() == isa);
  }
  set_cpu_isa(before);
  const std::string message = test::message_of<Error>([] { set_cpu_isa("z80"); });
  CHECK(message.rfind("set_cpu_isa: this machine runs " + isas.front(), 0) == 0);
  CHECK(message.find("not 'z80'") != std::string::npos);
  CHECK(cpu_isa() == before);

  for (const auto algorithm :
       {ConvAlgorithm::automatic, ConvAlgorithm::direct, ConvAlgorithm::winograd}) {
    CHECK(parse_conv_algorithm(to_string(algorithm)) == algorithm);
  }
  CHECK(test::message_of<Error>([] { parse_conv_algorithm("fft"); }) ==
        "there is no convolution algorithm 'fft': choose automatic, direct or winograd");
}

TEST_CASE("conv2d: nothing happens on the meta device") {
  const Conv2dShape shape = make_conv2d_shape("test", {2, 8, 8, 4}, {4, 3, 3, 4}, {});
  float* none = nullptr;
  conv2d_forward(Device::meta, none, none, none, shape);
  conv2d_backward_input(Device::meta, none, none, none, shape);
  conv2d_backward_weight(Device::meta, none, none, none, shape);
  conv2d_backward(Device::meta, none, none, none, none, none, shape);
  conv2d_backward_bias(Device::meta, none, none, shape.output_pixels(), shape.k);
}

}  // namespace
}  // namespace attune::kernels
