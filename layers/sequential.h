#pragma once

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "attune/layers/module.h"

namespace attune {

class ConvBN;

/// Modules one after the other, named "0", "1", ... A ConvBN takes two numbers, so that its tensors
/// are named as those of a convolution and the batch normalisation behind it: "0.weight", ...,
/// "1.weight", ...
///
///     auto net = std::make_shared<Sequential>();
///     net->add<Conv2d>({.in_channels = 3, .out_channels = 16});
///     net->add<ReLU>();
class Sequential : public Module {
 public:
  Sequential() = default;
  Sequential(std::initializer_list<std::shared_ptr<Module>> modules);

  /// Appends a module, and returns it.
  template <typename M>
  std::shared_ptr<M> add(std::shared_ptr<M> module) {
    append(module);
    return module;
  }
  /// Makes the module, from its options or other arguments, and appends it.
  template <typename M, typename... Arguments>
  std::shared_ptr<M> add(Arguments&&... arguments) {
    return add(std::make_shared<M>(std::forward<Arguments>(arguments)...));
  }
  template <typename M>
  std::shared_ptr<M> add(const typename M::Options& options) {
    return add(std::make_shared<M>(options));
  }
  /// Puts `conv_bn` where steps `position` and `position` + 1 are, under both their names.
  void replace_pair(std::size_t position, std::shared_ptr<ConvBN> conv_bn);

  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "Sequential"; }

  /// Number of modules; a ConvBN is one.
  std::size_t size() const { return steps_.size(); }
  const std::shared_ptr<Module>& operator[](std::size_t position) const;

 private:
  struct Step {
    std::string name;
    std::string bn_name;  // of a ConvBN; else empty
    std::shared_ptr<Module> module;
  };
  void append(const std::shared_ptr<Module>& module);
  void append(Step step);

  std::vector<Step> steps_;
  int next_number_ = 0;
};

}  // namespace attune
