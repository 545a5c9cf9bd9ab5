#include "paper/claims/explanation.h"

#include <attune/core/autograd.h>
#include <attune/core/ops/ops.h>
#include <attune/core/random.h>
#include <attune/layers/conv_bn.h>
#include <attune/optim/sgd.h>

#include <functional>
#include <memory>

#include "compare_modes/comparison.h"
#include "paper/lab.h"
#include "paper/rows.h"
#include "support/chart.h"
#include "support/network.h"

namespace attune::examples {
namespace {

/// What takes one of Deploy's SGD steps to Eval's: w' moves by -lr s^2 dw', and b' by -lr db', or
/// by -lr (1 + s^2) db' where the convolution has a bias beside beta.
void scale_gradients(Module& net) {
  const NoGradGuard no_grad;
  net.for_each_module([](const std::string&, Module& module) {
    const auto* const block = dynamic_cast<const ConvBN*>(&module);
    if (block == nullptr) return;
    const Tensor square = pow(block->folding_scale(), 2);
    Tensor weight = block->weight(), bias = block->bias();
    weight.set_grad(weight.grad() * reshape(square, {square.count(), 1, 1, 1}));
    if (block->options().bias) bias.set_grad(bias.grad() * (square + 1));
  });
}

void fix_gamma(Module& net) {
  net.for_each_module([](const std::string&, Module& module) {
    if (const auto* const block = dynamic_cast<const ConvBN*>(&module)) {
      Tensor gamma = block->gamma();
      gamma.set_requires_grad(false);
    }
  });
}

using Maker = std::function<std::shared_ptr<Module>()>;

/// The losses of an SGD run, in double, always on batch after batch of an epoch.
std::vector<double> trajectory(const Maker& make, Mode mode, bool scaled, const SgdOptions& sgd,
                               const DataLoader& batches, std::int64_t steps) {
  const std::shared_ptr<Module> net = make();
  if (mode == Mode::deploy) {
    net->deploy();
  } else {
    net->set_mode(mode);
    fix_gamma(*net);
  }
  std::vector<Tensor> trained;
  for (const Tensor& parameter : net->parameters()) {
    if (parameter.requires_grad()) trained.push_back(parameter);
  }
  Sgd optimizer(trained, sgd);
  std::vector<double> losses;
  for (const Batch& batch : batches.epoch(0)) {
    if (static_cast<std::int64_t>(losses.size()) == steps) break;
    optimizer.zero_grad();
    const Tensor loss = softmax_cross_entropy((*net)(batch.images), batch.targets);
    losses.push_back(loss.item());
    loss.backward();
    if (scaled) scale_gradients(*net);
    optimizer.step();
  }
  return losses;
}

std::vector<Row> explain(const Maker& make, double momentum, const DataLoader& batches,
                         std::int64_t steps) {
  const SgdOptions sgd{.lr = 0.003, .momentum = momentum};
  const auto run = [&](Mode mode, bool scaled) {
    return trajectory(make, mode, scaled, sgd, batches, steps);
  };
  const std::vector<double> eval = run(Mode::eval, false);
  std::vector<Row> rows{{{"run", "Eval"}, {"difference", 0}, {"losses", eval}}};
  for (const bool scaled : {true, false}) {
    const std::vector<double> losses = run(Mode::deploy, scaled);
    rows.push_back({{"run", scaled ? "Deploy, steps scaled" : "Deploy"},
                    {"difference", largest_loss_difference({.loss = losses}, {.loss = eval})},
                    {"losses", losses}});
  }
  return rows;
}

/// Two blocks whose convolutions have a bias, with statistics and affine maps far from 1 and 0.
class BiasedNet final : public Module {
 public:
  explicit BiasedNet(std::int64_t classes) {
    Generator generator{.seed = 5};
    const auto block = [&](const char* name, std::int64_t in) {
      return register_module(name, std::make_shared<ConvBN>(ConvBNOptions{.in_channels = in,
                                                                          .out_channels = 16,
                                                                          .stride = {2, 2},
                                                                          .padding = {1, 1},
                                                                          .bias = true},
                                                            generator));
    };
    first_ = block("first", 3);
    second_ = block("second", 16);
    head_ = register_module(
        "head", std::make_shared<Linear>(
                    Linear::Options{.in_features = 16, .out_features = classes}, generator));
    for (const auto& part : {first_, second_}) {
      part->load_state_dict({{"bn.weight", random_uniform({16}, 0.3, 2, generator)},
                             {"bn.bias", random_normal({16}, 0, 0.5, generator)},
                             {"bn.running_mean", random_normal({16}, 0, 0.5, generator)},
                             {"bn.running_var", random_uniform({16}, 0.2, 4, generator)},
                             {"conv.bias", random_normal({16}, 0, 0.5, generator)}},
                            /*strict=*/false);
    }
    to(DType::float64);
  }
  Tensor forward(const Tensor& x) override {
    return (*head_)(global_avg_pool((*second_)((*first_)(x, {}, true), {}, true)));
  }

 private:
  std::shared_ptr<ConvBN> first_, second_;
  std::shared_ptr<Linear> head_;
};

}  // namespace

Experiment explanation(Lab& lab, const std::string& net, double momentum) {
  const std::int64_t steps = lab.quick() ? 8 : 40;
  return {{{"table", "explanation"},
           {"network", net == "resnet" ? lab.pretrained_name() : net},
           {"momentum", momentum},
           {"steps", steps}},
          [=, &lab] {
            RunOptions options = lab.run_options(1);
            options.use_double = true;
            options.batch_size = 16;
            const Task& target = lab.transfer().target;
            const DataLoader batches = training_batches(target, options);
            const Maker make = [&]() -> std::shared_ptr<Module> {
              if (net != "resnet") return std::make_shared<BiasedNet>(target.classes());
              options.init = lab.pretrained();
              options.replace_head = true;
              manual_seed(1);
              return build_network(target, options).net;
            };
            return explain(make, momentum, batches, steps);
          }};
}

void report_explanation(Report& report, const std::vector<Row>& rows) {
  Report::NamedTable table{
      "Largest relative difference of the loss from Eval's over the run, in "
      "double:",
      {{"network", "momentum", "steps", "Deploy, steps scaled", "Deploy"}, {}}};
  Finding follows{
      "Deploy with its weight steps scaled by s², and its bias steps by 1 (1 + s² with "
      "a bias), follows Eval to 1e-9",
      true};
  Finding differs{"without the scaling it does not (1e-3 or more)", true};
  for (const auto& [key, group] : group_by(rows, {"network", "momentum", "steps"})) {
    const double scaled =
        number(where(group, {{"run", "Deploy, steps scaled"}}).at(0), "difference");
    const double plain = number(where(group, {{"run", "Deploy"}}).at(0), "difference");
    table.table.rows.push_back({key["network"].get<std::string>(), key["momentum"].dump(),
                                key["steps"].dump(), scientific(scaled), scientific(plain)});
    follows.holds = follows.holds && scaled <= 1e-9;
    differs.holds = differs.holds && plain >= 1e-3;
  }
  report.findings.push_back(follows);
  report.findings.push_back(differs);
  report.tables.push_back(table);
}

}  // namespace attune::examples
