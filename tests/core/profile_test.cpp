#include "attune/core/profile.h"

#include <algorithm>
#include <chrono>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/graph_report.h"
#include "attune/core/ops/ops.h"
#include "attune/core/random.h"
#include "attune/optim/sgd.h"
#include "tests/core/core_test.h"

namespace attune {
namespace {

using namespace test;

ProfileRow find(const Profile& profile, const std::string& label, const std::string& op) {
  for (const ProfileRow& row : profile.rows()) {
    if (row.label == label && row.op == op) return row;
  }
  return {.label = "no row", .op = op};
}

std::vector<std::string> names(const Profile& profile) {
  std::vector<std::string> names;
  for (const ProfileRow& row : profile.rows()) names.push_back(row.label + ":" + row.op);
  return names;
}

Tensor leaf(const Shape& shape, std::uint64_t seed = 1, double low = -1, double high = 1) {
  return random_tensor(shape, seed, low, high).set_requires_grad();
}

// Two layers, a loss and an optimizer.
struct Network {
  Tensor x = random_tensor({8, 4}, 1), targets = Tensor::zeros({8}, DType::int64);
  Tensor w1 = leaf({16, 4}, 2), w2 = leaf({3, 16}, 3), b2 = leaf({3}, 4);

  Tensor loss() const {
    Tensor hidden, logits;
    {
      const LabelScope scope("fc1");
      hidden = relu(linear(x, w1));
    }
    {
      const LabelScope scope("fc2");
      logits = linear(hidden, w2, b2);
    }
    return softmax_cross_entropy(logits, targets);
  }
};

TEST_CASE("a profile has a row for each operation of each layer", "[profile]") {
  const Network net;
  Sgd optimizer({net.w1, net.w2, net.b2}, {.lr = 0.1});
  Profile profile;
  for (int step = 0; step < 3; ++step) {
    const ProfileScope scope(profile);
    optimizer.zero_grad();
    net.loss().backward();
    optimizer.step();
  }
  CHECK(names(profile) == std::vector<std::string>{"fc1:linear", "fc1:relu", "fc2:linear",
                                                   ":softmax_cross_entropy", ":Sgd"});
  for (const ProfileRow& row : profile.rows()) {
    INFO(row.label << ":" << row.op);
    const bool is_optimizer = row.op == "Sgd";
    CHECK(row.forward.calls == 3);
    CHECK(row.backward.calls == (is_optimizer ? 0 : 3));
    CHECK(row.forward.time.count() >= 0);
    CHECK(row.backward.time.count() >= 0);
  }
  // fc1's input is the network's, and has no gradient.
  const ProfileRow fc1 = find(profile, "fc1", "linear"), fc2 = find(profile, "fc2", "linear");
  CHECK(fc1.forward.flops == 3 * (2 * 8 * 4 * 16));
  CHECK(fc1.backward.flops == fc1.forward.flops);
  CHECK(fc2.forward.flops == 3 * (2 * 8 * 16 * 3));
  CHECK(fc2.backward.flops == 2 * fc2.forward.flops);
  CHECK(find(profile, "fc1", "relu").forward.flops == 0);
}

TEST_CASE("the times of a profile add up", "[profile]") {
  const Network net;
  const auto check = [](const Profile& profile) {
    std::chrono::nanoseconds sum{0};
    for (const ProfileRow& row : profile.rows()) sum += row.time();
    CHECK(sum.count() > 0);
    CHECK(profile.other_time().count() >= 0);
    CHECK(sum + profile.other_time() == profile.time());
  };
  Profile profile;
  const auto start = std::chrono::steady_clock::now();
  for (int step = 0; step < 2; ++step) {
    const ProfileScope scope(profile);
    net.loss().backward();
    check(profile);  // the scope is still open
  }
  check(profile);
  CHECK(profile.time() <= std::chrono::steady_clock::now() - start);

  const auto before = profile.time();
  const auto rows_before = profile.rows().size();
  {
    const ProfileScope scope(profile);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  CHECK(profile.time() - before >= std::chrono::milliseconds(2));
  CHECK(profile.rows().size() == rows_before);
  check(profile);
}

TEST_CASE("a pass tells its speed", "[profile]") {
  const ProfilePass pass{.calls = 1, .time = std::chrono::milliseconds(2), .flops = 6'000'000};
  CHECK(pass.milliseconds() == 2);
  CHECK(pass.gigaflops_per_second() == 3);
  CHECK(ProfilePass{.calls = 1, .flops = 1}.gigaflops_per_second() == 0);
}

TEST_CASE("a profile counts the flops of convolutions", "[profile]") {
  const Conv2dOptions options{.stride = {2, 1}, .padding = {1, 1}, .groups = 2};
  const Tensor x = leaf({2, 7, 6, 4}), w = leaf({8, 3, 3, 2}, 2), b = leaf({8}, 3);
  const std::int64_t flops = 2 * (2 * 4 * 6 * 8) * (3 * 3 * 2);  // output [2, 4, 6, 8]
  REQUIRE(make_conv2d_shape("test", {2, 7, 6, 4}, {8, 3, 3, 2}, options).flops() == flops);

  const auto profiled = [](const auto& compute) {
    Profile profile;
    const ProfileScope scope(profile);
    sum(compute()).backward();
    return profile.rows().front();
  };
  SECTION("conv2d") {
    const ProfileRow row = profiled([&] { return conv2d(x, w, b, options); });
    CHECK(row.op == "conv2d");
    CHECK(row.forward.flops == flops);
    CHECK(row.backward.flops == 2 * flops);
  }
  SECTION("gradients that are not wanted do not count") {
    CHECK(profiled([&] { return conv2d(x.detach(), w, b, options); }).backward.flops == flops);
    CHECK(profiled([&] { return conv2d(x, w.detach(), b, options); }).backward.flops == flops);
    CHECK(profiled([&] { return conv2d(x.detach(), w.detach(), b, options); }).backward.flops == 0);
  }
  SECTION("conv_transpose2d") {
    const Tensor y = leaf({2, 4, 6, 8}, 4);
    const ProfileRow row = profiled([&] { return conv_transpose2d(y, w, leaf({4}), options); });
    CHECK(row.op == "conv_transpose2d");
    CHECK(row.forward.flops == flops);
    CHECK(row.backward.flops == 2 * flops);
  }
  SECTION("conv_bn") {
    const Tensor mean = random_tensor({8}, 5), var = random_tensor({8}, 6, 0.5, 1);
    const ConvBNTensors t{x, w, b, leaf({8}, 7), leaf({8}, 8), mean, var, {}};
    const ConvBNSettings settings{.convolution = {.conv = options}};
    const auto check = [&](const ProfileRow& row, const std::string& op) {
      CHECK(row.op == op);
      CHECK(row.forward.flops == flops);
      CHECK(row.backward.flops == 2 * flops);
    };
    check(profiled([&] { return conv_bn_train(t, settings); }), "conv_bn_train");
    check(profiled([&] { return conv_bn_eval(t, settings); }), "conv_bn_eval");
    check(profiled([&] { return conv_bn_tune(t, settings); }), "conv_bn_tune");
  }
  SECTION("matmul") {
    const ProfileRow row = profiled([&] { return matmul(leaf({5, 6}), leaf({6, 7})); });
    CHECK(row.op == "matmul");
    CHECK(row.forward.flops == 2 * 5 * 6 * 7);
    CHECK(row.backward.flops == 2 * row.forward.flops);
  }
}

TEST_CASE("a profile counts saved bytes as a graph report does", "[profile]") {
  const Network net;
  const Tensor loss = net.loss();  // what was recorded before the scope is reported too
  const GraphReport report = graph_report(loss);
  REQUIRE(report.saved_bytes > 0);
  Profile profile;
  {
    const ProfileScope scope(profile);
    loss.backward();
  }
  REQUIRE(profile.rows().size() == report.entries.size());
  for (const GraphReport::Entry& entry : report.entries) {
    INFO(entry.label << ":" << entry.name);
    const ProfileRow row = find(profile, entry.label, entry.name);
    CHECK(row.saved_bytes == entry.saved_bytes);
    CHECK(row.forward.calls == 0);
    CHECK(row.backward.calls == 1);
  }
}

TEST_CASE("a profile changes neither results nor saved bytes", "[profile]") {
  const Network net;
  const auto step = [&] {
    net.w1.autograd_meta()->grad = {};
    const Tensor loss = net.loss();
    const std::int64_t bytes = saved_bytes(loss);
    loss.backward();
    std::vector<double> results = net.w1.grad().to_vector<double>();
    results.push_back(loss.item());
    results.push_back(static_cast<double>(bytes));
    return results;
  };
  const auto without = step();
  Profile profile;
  const ProfileScope scope(profile);
  CHECK(step() == without);
}

TEST_CASE("outside of its scopes a profile records nothing", "[profile]") {
  const Network net;
  Profile profile;
  net.loss().backward();
  { const ProfileScope scope(profile); }
  net.loss().backward();
  CHECK(profile.rows().empty());
  CHECK(profile.other_time() == profile.time());

  const ProfileScope scope(profile);
  std::thread([&] { net.loss().backward(); }).join();  // a scope is for its thread
  CHECK(profile.rows().empty());
}

TEST_CASE("a profile records without gradients", "[profile]") {
  const Network net;
  Profile profile;
  const ProfileScope scope(profile);
  const NoGradGuard no_grad;
  net.loss();
  CHECK(names(profile) ==
        std::vector<std::string>{"fc1:linear", "fc1:relu", "fc2:linear", ":softmax_cross_entropy"});
}

TEST_CASE("the outer of two profiles records what the inner one does", "[profile]") {
  const Tensor x = random_tensor({3}, 1);
  Profile outer, inner;
  {
    const ProfileScope outer_scope(outer);
    exp(x);
    {
      const ProfileScope inner_scope(inner);
      exp(x);
      abs(x);
    }
    exp(x);
    CHECK(find(inner, "", "exp").forward.calls == 1);
    CHECK(find(inner, "", "abs").forward.calls == 1);
    CHECK(find(outer, "", "exp").forward.calls == 3);
    CHECK(find(outer, "", "abs").forward.calls == 1);

    CHECK(contains(error_message([&] { const ProfileScope again(outer); }), "ProfileScope: "));
    exp(x);
    CHECK(find(outer, "", "exp").forward.calls == 4);
  }
  CHECK(inner.time() <= outer.time());
  CHECK(outer.other_time().count() >= 0);
}

TEST_CASE("a profile survives an exception", "[profile]") {
  const Tensor x = random_tensor({3}, 1), square = random_tensor({2, 2}, 2);
  Profile profile;
  CHECK_THROWS_AS(
      [&] {
        const ProfileScope scope(profile);
        matmul(x, square);
      }(),
      Error);
  exp(x);  // the scope is over
  CHECK(names(profile) == std::vector<std::string>{":matmul"});
  {
    const ProfileScope scope(profile);
    matmul(square, square);
    exp(x);
  }
  CHECK(find(profile, "", "matmul").forward.calls == 2);  // the time of the first is time, too
  CHECK(find(profile, "", "matmul").forward.flops == 2 * 2 * 2 * 2);
  CHECK(find(profile, "", "exp").forward.calls == 1);
  CHECK(profile.other_time().count() >= 0);
}

struct NestingBackward final : Node {
  NestingBackward() : Node("nesting") {}
  Profile* profile = nullptr;

  void backward(Tensor grad) override {
    const ProfileScope scope(*profile);
    add_grad(0, grad * 2);
  }
};

TEST_CASE("an operation within an operation is part of it", "[profile]") {
  const Tensor x = leaf({3});
  Tensor y = x.clone();
  Profile outer, inner;
  record<NestingBackward>(y, x)->profile = &inner;
  const ProfileScope scope(outer);
  sum(y).backward();
  CHECK(names(outer) == std::vector<std::string>{":sum", ":nesting"});
  CHECK(find(outer, "", "nesting").backward.calls == 1);
  CHECK(inner.rows().empty());  // it began within the operation, and ended there
  CHECK(outer.other_time().count() >= 0);
}

// An operation without an OpTimer, or whose OpTimer has another name than its node.
TEST_CASE("forward and backward of every operation meet in one row", "[profile]") {
  const Tensor a = leaf({4, 4}, 1, 0.5, 1), b = leaf({4, 4}, 2, 0.5, 1);
  const Tensor image = leaf({2, 4, 4, 2}), w = leaf({2, 3, 3, 2}, 2);
  const Tensor scale = leaf({2}, 3), shift = leaf({2}, 4);
  const Tensor mean_of = random_tensor({2}, 5), var = random_tensor({2}, 6, 0.5, 1);
  const ConvBNTensors block{image, w, {}, scale, shift, mean_of, var, {}};
  Generator generator{1, 0};
  Profile profile;
  {
    const ProfileScope scope(profile);
    // Train comes before Eval, whose saved running statistics must stay as they are.
    const std::vector<Tensor> results{
        a + b,
        a - b,
        a * b,
        a / b,
        -a,
        exp(a),
        log(a),
        sqrt(a),
        pow(a, 3),
        abs(a),
        relu(a),
        sigmoid(a),
        tanh(a),
        sum(a),
        mean(a, {0}),
        max(a, {1}),
        matmul(a, b),
        linear(a, b),
        transpose(a),
        flatten(image),
        pad(a, {{1, 1}, {0, 2}}),
        slice(a, 0, 1, 3),
        concatenate({a, b}, 1),
        dropout(a, 0.5, generator),
        max_pool2d(image, {.window = {2, 2}}),
        avg_pool2d(image, {.window = {2, 2}}),
        global_avg_pool(image),
        softmax_cross_entropy(a, Tensor::zeros({4}, DType::int64)),
        conv2d(image, w),
        conv_transpose2d(image, w),
        batch_norm_train(image, scale, shift, mean_of, var, 0.1, 1e-5),
        conv_bn_train(block, {}),
        batch_norm_eval(image, scale, shift, mean_of, var, 1e-5),
        conv_bn_eval(block, {}),
        conv_bn_tune(block, {})};
    for (const Tensor& result : results) {
      result.backward(Tensor::ones(result.shape(), result.dtype()));
    }
    CHECK(profile.rows().size() == results.size());
  }
  for (const ProfileRow& row : profile.rows()) {
    INFO(row.op);
    CHECK(row.forward.calls == 1);
    CHECK(row.backward.calls == 1);
  }
  Profile no_backward;
  const ProfileScope scope(no_backward);
  equal(a, b);
  argmax(a, 0);
  CHECK(names(no_backward) == std::vector<std::string>{":equal", ":argmax"});
}

TEST_CASE("a profile prints as a table of one step", "[profile]") {
  const Tensor x = leaf({512, 256});  // 1 MiB
  Profile profile;
  for (int step = 0; step < 2; ++step) {
    const ProfileScope scope(profile);
    const LabelScope label("layer1.0.conv1");
    sum(matmul(abs(x), Tensor::ones({256, 1}, x.dtype()))).backward();
  }
  const std::string table = to_string(profile, 2);
  INFO(table);
  std::istringstream text(table);
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  REQUIRE(lines.size() == 8);  // header, rule, three rows, rule, other, total
  for (const std::string& line : lines) CHECK(line.size() == lines[0].size());
  CHECK(lines[1] == std::string(lines[0].size(), '-'));
  CHECK(lines[5] == lines[1]);
  CHECK(lines[6].starts_with("other "));
  CHECK(lines[7].starts_with("total "));

  std::vector<std::vector<std::string>> cells;
  for (const std::string& line : lines) {
    std::istringstream words(line);
    cells.emplace_back();
    for (std::string word; words >> word;) cells.back().push_back(word);
  }
  double longest = 1e300;
  for (std::size_t row = 2; row < 5; ++row) {
    REQUIRE(cells[row].size() == 11);  // "%" is a cell
    CHECK(cells[row][0] == "layer1.0.conv1");
    CHECK(cells[row][2] == "1");  // calls, of one step
    CHECK(std::stod(cells[row][7]) <= longest);
    longest = std::stod(cells[row][7]);
    const bool is_abs = cells[row][1] == "abs";
    CHECK(cells[row][10] == (is_abs ? "1.00" : "0.00"));
    CHECK((cells[row][4] == "-") == (cells[row][1] != "matmul"));
  }
  CHECK(cells[7].back() == "1.00");

  CHECK(contains(error_message([&] { to_string(profile, 0); }), "0 steps"));
  CHECK(contains(to_string(Profile()), "total"));
}

}  // namespace
}  // namespace attune
