#include "attune/core/graph_report.h"

#include <algorithm>
#include <memory>
#include <unordered_set>

#include "attune/core/autograd.h"
#include "attune/core/format_text.h"

namespace attune {
namespace {

// Every node below the root, in the order of recording.
std::vector<const Node*> nodes_below(const Tensor& root) {
  std::vector<const Node*> found;
  std::unordered_set<const Node*> seen;
  std::vector<const AutogradMeta*> pending{root.autograd_meta().get()};
  while (!pending.empty()) {
    const AutogradMeta* meta = pending.back();
    pending.pop_back();
    if (!meta || !meta->producer || !seen.insert(meta->producer.get()).second) continue;
    found.push_back(meta->producer.get());
    for (const auto& input : meta->producer->inputs()) pending.push_back(input.get());
  }
  std::sort(found.begin(), found.end(),
            [](const Node* a, const Node* b) { return a->id() < b->id(); });
  return found;
}

}  // namespace

GraphReport graph_report(const Tensor& root, const std::vector<Tensor>& exclude) {
  std::unordered_set<const Storage*> counted;
  for (const Tensor& tensor : exclude) counted.insert(tensor.shared_storage().get());

  GraphReport report;
  for (const Node* node : nodes_below(root)) {
    GraphReport::Entry entry{node->label(), node->name(), node->output_shape()};
    for (const SavedValue& saved : node->saves()) {
      for (const Storage* storage : storages_of(saved)) {
        if (storage->purpose() == MemoryPurpose::parameter) continue;
        if (counted.insert(storage).second) entry.saved_bytes += storage->bytes();
      }
    }
    report.saved_bytes += entry.saved_bytes;
    report.entries.push_back(std::move(entry));
  }
  return report;
}

std::int64_t saved_bytes(const Tensor& root, const std::vector<Tensor>& exclude) {
  return graph_report(root, exclude).saved_bytes;
}

std::string to_string(const GraphReport& report) {
  std::size_t label_width = 5, name_width = 9, shape_width = 6;
  for (const auto& entry : report.entries) {
    label_width = std::max(label_width, entry.label.size());
    name_width = std::max(name_width, entry.name.size());
    shape_width = std::max(shape_width, to_string(entry.output_shape).size());
  }
  std::string table;
  const auto line = [&](const auto& label, const auto& name, const auto& shape, const auto& bytes) {
    table += format_text("{:<{}}  {:<{}}  {:<{}}  {:>14}\n", label, label_width, name, name_width,
                         shape, shape_width, bytes);
  };
  line("layer", "operation", "output", "saved bytes");
  for (const auto& entry : report.entries) {
    line(entry.label, entry.name, to_string(entry.output_shape), entry.saved_bytes);
  }
  line("total", "", "", report.saved_bytes);
  return table;
}

}  // namespace attune
