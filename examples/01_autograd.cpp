// Lesson 1: tensors, gradients, and what they cost.
//
// A network of two layers learns to tell two spirals apart. There are no layers or optimizers here,
// only tensors and operations on them, so that nothing stands between you and the gradients.

#include <attune/core/autograd.h>
#include <attune/core/grad_check.h>
#include <attune/core/graph_report.h>
#include <attune/core/ops/ops.h>
#include <attune/core/random.h>
#include <fmt/core.h>

#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

#include "support/command_line.h"

using namespace attune;

namespace {

constexpr std::int64_t kPointsPerArm = 100, kHidden = 48;

struct Points {
  Tensor positions;  // [N, 2]
  Tensor arms;       // [N], int64: 0 or 1
};

/// Two spirals of one turn and a half around the origin, one opposite the other.
Points spirals() {
  std::vector<float> positions;
  std::vector<std::int64_t> arms;
  for (std::int64_t arm = 0; arm < 2; ++arm) {
    for (std::int64_t i = 0; i < kPointsPerArm; ++i) {
      const double t = static_cast<double>(i) / kPointsPerArm;
      const double angle = std::numbers::pi * (3 * t + static_cast<double>(arm));
      const double radius = 0.15 + 0.85 * t;
      positions.push_back(static_cast<float>(radius * std::cos(angle)));
      positions.push_back(static_cast<float>(radius * std::sin(angle)));
      arms.push_back(arm);
    }
  }
  return {Tensor::from(positions, {2 * kPointsPerArm, 2}), Tensor::from(arms, {2 * kPointsPerArm})};
}

struct TwoLayers {
  Tensor weight1, bias1, weight2, bias2;

  explicit TwoLayers(Generator& generator, DType dtype = DType::float32)
      : weight1(random_normal({kHidden, 2}, 0, 2, generator, dtype)),
        bias1(random_normal({kHidden}, 0, 1, generator, dtype)),
        weight2(random_normal({2, kHidden}, 0, 1 / std::sqrt(kHidden), generator, dtype)),
        bias2(Tensor::zeros({2}, dtype)) {
    for (Tensor* parameter : parameters()) parameter->set_requires_grad();
  }

  std::vector<Tensor*> parameters() { return {&weight1, &bias1, &weight2, &bias2}; }

  /// x [N, 2] -> logits [N, 2].
  Tensor operator()(const Tensor& x) const {
    const Tensor hidden = tanh(linear(x, weight1, bias1));  // [N, kHidden]
    return linear(hidden, weight2, bias2);
  }
};

void differentiate_a_formula() {
  fmt::print("1. Operations on a tensor that requires gradients are recorded.\n\n");
  Tensor x = Tensor::from(std::vector<double>{1, 2, 3}, {3}).set_requires_grad();
  const Tensor y = sum(x * x * 0.5 + exp(-x));
  y.backward();
  const std::vector<double> gradient = x.grad().to_vector<double>();
  fmt::print("   y = sum(x^2 / 2 + exp(-x)) at x = (1, 2, 3) is {:.4f}\n", y.item());
  fmt::print("   dy/dx = x - exp(-x)            = ({:.4f}, {:.4f}, {:.4f})\n\n", gradient[0],
             gradient[1], gradient[2]);
}

void learn(TwoLayers& net, const Points& points) {
  fmt::print("2. Gradient descent is a loop of four lines.\n\n");
  constexpr int kSteps = 3000;
  constexpr double kRate = 0.5;
  for (int step = 0; step <= kSteps; ++step) {
    const Tensor loss = softmax_cross_entropy(net(points.positions), points.arms);
    if (step % 500 == 0) fmt::print("   step {:4}  loss {:.4f}\n", step, loss.item());
    loss.backward();
    // The update itself is not to be differentiated.
    const NoGradGuard no_grad;
    for (Tensor* parameter : net.parameters()) {
      parameter->copy_(*parameter - kRate * parameter->grad());
      parameter->zero_grad();
    }
  }
}

/// Draws which arm the network sees where, and the points in capital letters.
void draw(const TwoLayers& net, const Points& points) {
  constexpr int kRows = 21, kColumns = 43;
  std::vector<float> grid;
  for (int row = 0; row < kRows; ++row) {
    for (int column = 0; column < kColumns; ++column) {
      grid.push_back(2.2f * static_cast<float>(column) / (kColumns - 1) - 1.1f);
      grid.push_back(1.1f - 2.2f * static_cast<float>(row) / (kRows - 1));
    }
  }
  const NoGradGuard no_grad;
  const auto arms =
      argmax(net(Tensor::from(grid, {kRows * kColumns, 2})), 1).to_vector<std::int64_t>();
  std::string picture;
  for (const std::int64_t arm : arms) picture += arm == 0 ? '.' : ' ';
  const auto positions = points.positions.to_vector<float>();
  for (std::size_t i = 0; i < positions.size(); i += 2) {
    const auto column = std::lround((positions[i] + 1.1f) / 2.2f * (kColumns - 1));
    const auto row = std::lround((1.1f - positions[i + 1]) / 2.2f * (kRows - 1));
    picture[static_cast<std::size_t>(row * kColumns + column)] =
        i < positions.size() / 2 ? 'o' : 'x';
  }
  fmt::print("\n");
  for (int row = 0; row < kRows; ++row) {
    fmt::print("   {}\n", picture.substr(static_cast<std::size_t>(row) * kColumns, kColumns));
  }
  const auto found = equal(argmax(net(points.positions), 1), points.arms).to_vector<std::int64_t>();
  std::int64_t right = 0;
  for (const std::int64_t hit : found) right += hit;
  fmt::print("\n   {} of {} points on the right side\n\n", right, found.size());
}

void check_gradients(const Points& points) {
  fmt::print("3. Never trust a gradient that was not compared with differences.\n\n");
  Generator generator{.seed = 2};
  TwoLayers net(generator, DType::float64);
  const Tensor x = points.positions.to(DType::float64);
  // The inputs are the parameters, which grad_check() moves in place while it calls the function.
  const GradCheckResult result = grad_check(
      [&](const std::vector<Tensor>&) { return softmax_cross_entropy(net(x), points.arms); },
      {net.weight1, net.bias1, net.weight2, net.bias2});
  fmt::print("   {}\n\n", result.message);
}

void account_for_memory(const TwoLayers& net, const Points& points) {
  fmt::print("4. What backward needs is kept until then, and every byte can be accounted for.\n\n");
  const Tensor loss = softmax_cross_entropy(net(points.positions), points.arms);
  // Without what is there anyway: the input and the weights.
  fmt::print("{}\n", to_string(graph_report(loss, {points.positions, net.weight1, net.weight2})));
  fmt::print(
      "   The hidden layer is kept once, although tanh and the second layer both need it.\n");
}

void lesson() {
  differentiate_a_formula();
  const Points points = spirals();
  Generator generator{.seed = 1};
  TwoLayers net(generator);
  learn(net, points);
  draw(net, points);
  check_gradients(points);
  account_for_memory(net, points);
}

}  // namespace

int main(int argc, char** argv) {
  return examples::run_lesson(argc, argv, "Lesson 1: tensors, gradients, and what they cost.",
                              lesson);
}
