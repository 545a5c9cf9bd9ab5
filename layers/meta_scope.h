#pragma once

#include <utility>
#include <vector>

#include "attune/layers/module.h"

namespace attune {

/// Within the scope, every parameter and buffer of a module is replaced by one of the same shape on
/// Device::meta, and dropout is off: forward() computes shapes alone. Leaving it puts everything
/// back, so that no optimizer or holder of a handle notices.
class MetaScope {
 public:
  explicit MetaScope(Module& module);
  ~MetaScope();
  MetaScope(const MetaScope&) = delete;
  MetaScope& operator=(const MetaScope&) = delete;

 private:
  std::vector<std::pair<Tensor*, Tensor>> tensors_;  // where, and what was there
  std::vector<std::pair<Module*, bool>> training_;
};

}  // namespace attune
