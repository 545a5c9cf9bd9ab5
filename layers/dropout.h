#pragma once

#include <string>

#include "attune/core/random.h"
#include "attune/layers/module.h"

namespace attune {

/// While training() (see Module::train): each element becomes 0 with probability p, and is divided
/// by 1 - p otherwise, so that the expectation stays. Else x itself. Srivastava et al., JMLR 15
/// (2014), in the inverted form.
class Dropout final : public Module {
 public:
  /// Throws Error unless 0 <= p < 1. `generator`, which must outlive the layer, supplies one stream
  /// for each call; null: default_generator() of the calling thread.
  explicit Dropout(double p = 0.5, Generator* generator = nullptr);

  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "Dropout"; }
  double p() const { return p_; }

 private:
  double p_;
  Generator* generator_;
};

}  // namespace attune
