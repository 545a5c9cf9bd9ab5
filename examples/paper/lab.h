#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "support/command_line.h"
#include "support/tasks.h"

namespace attune::examples {

struct PaperOptions {
  /// Of these, net, init, data, device, threads, out and progress are options here.
  RunOptions run{.out = "runs/paper"};
  std::vector<std::string> claims = {};  ///< none: all
  bool quick = false;
  std::int64_t pretrain_epochs = 12;
  std::int64_t seeds = 3;
  bool again = false;   ///< measures anew what has been measured
  bool report = false;  ///< measures nothing
  std::filesystem::path docs = {};
};

/// What the claims' experiments have in common: the options, the data, and networks that have been
/// trained beforehand.
class Lab {
 public:
  explicit Lab(PaperOptions options) : options_(std::move(options)) {}

  const PaperOptions& options() const { return options_; }
  bool quick() const { return options_.quick; }
  /// On a GPU the larger network gets all settings and all epochs; two cores would take too long.
  bool full() const { return !quick() && options_.run.device.device != Device::cpu; }
  /// Options of a run with this seed, for what the trainers take. Its batches have batch() images.
  RunOptions run_options(std::uint64_t seed) const;
  /// Few images need small batches, for enough steps.
  std::int64_t batch() const { return quick() ? 32 : 128; }
  /// 1, 2, ..., one for each repetition of what depends on chance.
  std::vector<std::uint64_t> seeds() const;

  /// The task to pretrain on, and the one to fine-tune on. Reads the data when first asked.
  const Transfer& transfer();
  /// Weights of the network (another than that of --net, if it is named), pretrained on the source
  /// task: the file of --init, or else what was trained for this purpose. An interrupted training
  /// goes on where it was. Throws Error if it is interrupted().
  std::filesystem::path pretrained(const std::string& other_net = {});
  /// Which network that is, for the settings of an experiment: "resnet20 after 12 epochs of
  /// CIFAR-100".
  std::string pretrained_name(const std::string& other_net = {});

 private:
  /// A network, and how long it is pretrained.
  struct Pretraining {
    std::string net;
    std::int64_t epochs;
  };
  Pretraining pretraining_of(const std::string& other_net) const;

  PaperOptions options_;
  std::optional<Transfer> transfer_;
};

}  // namespace attune::examples
