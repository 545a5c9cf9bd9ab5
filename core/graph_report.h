#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "attune/core/tensor.h"

namespace attune {

/// What a graph keeps for its backward pass.
struct GraphReport {
  struct Entry {
    std::string label;  ///< the layer that recorded the node, or empty
    std::string name;   ///< the operation
    Shape output_shape;
    std::int64_t saved_bytes = 0;  ///< of storages that no earlier entry keeps
  };
  std::vector<Entry> entries;    ///< in the order of the forward pass
  std::int64_t saved_bytes = 0;  ///< in total
};

/// Lists every node that `root` (the loss, or any result) was computed by, with the bytes it keeps.
///
/// A storage counts once, at the first node that keeps it. Storages of parameters and buffers
/// (MemoryPurpose::parameter) do not count: they are there anyway. Nor do those of `exclude`: pass
/// the network's own input. A node that keeps a recipe counts its ingredients. After backward()
/// nothing is kept, and only the last node is left to report.
GraphReport graph_report(const Tensor& root, const std::vector<Tensor>& exclude = {});

/// graph_report(root, exclude).saved_bytes.
std::int64_t saved_bytes(const Tensor& root, const std::vector<Tensor>& exclude = {});

/// The report as a table, one line an entry and one for the total.
std::string to_string(const GraphReport& report);

}  // namespace attune
