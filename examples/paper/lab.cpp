#include "paper/lab.h"

#include <attune/core/error.h>
#include <attune/core/random.h>
#include <attune/layers/weights.h>
#include <fmt/format.h>

#include <algorithm>

#include "support/interrupt.h"
#include "support/network.h"
#include "support/output_files.h"
#include "train_resnet/trainer.h"

namespace attune::examples {

namespace fs = std::filesystem;

RunOptions Lab::run_options(std::uint64_t seed) const {
  RunOptions run = options_.run;
  run.seed = seed;
  run.batch_size = batch();
  run.init.clear();
  run.out.clear();
  run.progress = ProgressStyle::off;  // the progress shown is that of the experiments
  return run;
}

std::vector<std::uint64_t> Lab::seeds() const {
  const std::int64_t count = quick() ? std::min<std::int64_t>(options_.seeds, 2) : options_.seeds;
  std::vector<std::uint64_t> seeds;
  for (std::int64_t i = 1; i <= count; ++i) seeds.push_back(static_cast<std::uint64_t>(i));
  return seeds;
}

const Transfer& Lab::transfer() {
  if (!transfer_) transfer_ = open_transfer(options_.run);
  return *transfer_;
}

Lab::Pretraining Lab::pretraining_of(const std::string& other_net) const {
  constexpr std::int64_t kQuickEpochs = 4;
  const std::int64_t epochs = quick() ? kQuickEpochs : options_.pretrain_epochs;
  if (other_net.empty() || other_net == options_.run.net) return {options_.run.net, epochs};
  // An epoch of the larger network takes about four times as long.
  return {other_net, full() ? epochs : std::max<std::int64_t>(1, epochs / 4)};
}

std::string Lab::pretrained_name(const std::string& other_net) {
  const auto [net, epochs] = pretraining_of(other_net);
  if (net == options_.run.net && !options_.run.init.empty()) {
    return options_.run.init.filename().string();
  }
  return fmt::format("{} after {} epochs of {}", net, epochs, transfer().source.name);
}

fs::path Lab::pretrained(const std::string& other_net) {
  const auto [net, epochs] = pretraining_of(other_net);
  if (net == options_.run.net && !options_.run.init.empty()) return options_.run.init;
  std::string name = pretrained_name(net);
  std::replace(name.begin(), name.end(), ' ', '_');
  const fs::path folder = options_.run.out / "pretrained" / name;
  fs::path weights = folder.string() + ".safetensors";
  if (fs::exists(weights)) return weights;  // written when the training has ended

  const Task& source = transfer().source;
  check_writable(weights);
  check_writable(folder / Trainer::kCheckpointFile);
  TrainOptions train{.run = options_.run, .epochs = epochs};
  train.run.net = net;
  train.run.out = folder;
  train.run.batch_size = batch();
  if (quick()) train.lr = 0.1;
  manual_seed(train.run.seed);
  const Network network = build_network(source, train.run);
  Trainer trainer(network.net, source, train);
  const fs::path checkpoint = folder / Trainer::kCheckpointFile;
  if (fs::exists(checkpoint)) trainer.resume(checkpoint);
  trainer.run([](std::size_t, const EpochResult&) {});
  if (interrupted()) throw Error("interrupted while pretraining: run it again to go on");
  save_weights(*network.net, weights, {.metadata = describe_network(source, train.run)});
  return weights;
}

}  // namespace attune::examples
