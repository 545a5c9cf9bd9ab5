#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "attune/layers/module.h"

namespace attune {

/// A network as a table: one row a layer, in the order of the calls.
struct Summary {
  struct Row {
    std::string name;
    std::string type;
    Shape output;
    std::int64_t parameters;  ///< 0 from the second call on
    std::int64_t flops;       ///< of this call; a multiply-add counts as two
  };
  Shape input;
  std::vector<Row> rows;
  std::int64_t parameters = 0;            ///< of the whole network
  std::int64_t trainable_parameters = 0;  ///< of these, those that are not frozen
  std::int64_t flops = 0;
};

/// Describes what `module` does with one input of shape `input`, as each layer's flops() counts.
/// Runs on Device::meta, without arithmetic, and leaves the module as it was. Rows are the layers
/// without further modules below, and those that have parameters of their own.
Summary summarize(Module& module, const Shape& input);

/// The table as text, with a heading and totals.
std::string to_string(const Summary& summary);

}  // namespace attune
