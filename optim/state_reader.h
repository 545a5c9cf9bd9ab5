#pragma once

#include <map>
#include <string>

#include "attune/optim/optimizer.h"

namespace attune {

/// Takes a saved state apart, strictly: every entry must be taken once. Throws Error, beginning
/// with `op`, if an entry is missing, unexpected, given twice or not of the wanted kind.
class StateReader {
 public:
  StateReader(std::string op, const OptimizerState& state);

  bool has(const std::string& name) const { return entries_.contains(name); }
  Tensor take(const std::string& name, const Shape& shape, DType dtype);
  double take_real(const std::string& name) { return take(name, {}, DType::float64).item(); }
  /// A count, at least `minimum`.
  std::int64_t take_count(const std::string& name, std::int64_t minimum);
  /// Takes a tensor like `like`: a copy of it, on the device of `like`, counted as optimizer
  /// memory.
  Tensor take_copy(const std::string& name, const Tensor& like);
  /// To be called when all that is known has been taken.
  void check_empty() const;

 private:
  std::string op_;
  std::map<std::string, Tensor> entries_;
};

/// The entry that take_real() takes.
Tensor state_entry(double value);
/// The entry that take_count() takes.
Tensor state_entry(std::int64_t count);

}  // namespace attune
