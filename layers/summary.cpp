#include "attune/layers/summary.h"

#include <algorithm>
#include <unordered_set>

#include "attune/core/autograd.h"
#include "attune/core/format_text.h"
#include "attune/layers/meta_scope.h"

namespace attune {

Summary summarize(Module& module, const Shape& input) {
  Summary summary;
  summary.input = input;
  DType dtype = DType::float32;
  for (const Tensor& parameter : module.parameters()) {
    dtype = parameter.dtype();
    summary.parameters += parameter.count();
    summary.trainable_parameters += parameter.requires_grad() ? parameter.count() : 0;
  }
  std::unordered_set<const Module*> seen;
  const CallObserver observer([&](Module& layer, const Tensor& x, const Tensor& y) {
    const std::int64_t own = layer.own_parameter_count();
    const std::int64_t flops = layer.flops(x.shape(), y.shape());
    if (layer.has_children() && own == 0 && flops == 0) return;
    summary.rows.push_back({.name = layer.path(),
                            .type = layer.type_name(),
                            .output = y.shape(),
                            .parameters = seen.insert(&layer).second ? own : 0,
                            .flops = flops});
    summary.flops += flops;
  });
  const MetaScope meta(module);
  const NoGradGuard no_grad;
  module(Tensor::empty(input, dtype, Device::meta));
  return summary;
}

namespace {

// 1234567 -> "1,234,567"
std::string grouped(std::int64_t number) {
  std::string digits = std::to_string(number);
  for (auto i = static_cast<std::int64_t>(digits.size()) - 3; i > 0; i -= 3) {
    digits.insert(static_cast<std::size_t>(i), ",");
  }
  return digits;
}

}  // namespace

std::string to_string(const Summary& summary) {
  std::size_t name_width = 5;
  std::size_t type_width = 4;
  std::size_t shape_width = 6;
  for (const Summary::Row& row : summary.rows) {
    name_width = std::max(name_width, row.name.size());
    type_width = std::max(type_width, row.type.size());
    shape_width = std::max(shape_width, to_string(row.output).size());
  }
  const auto line = [&](const std::string& name, const std::string& type, const std::string& output,
                        const std::string& parameters, const std::string& flops) {
    return format_text("{:<{}}  {:<{}}  {:<{}}  {:>13}  {:>17}\n", name, name_width, type,
                       type_width, output, shape_width, parameters, flops);
  };
  std::string text = line("layer", "type", "output", "parameters", "FLOPs");
  const std::string rule(text.size() - 1, '-');
  text += rule + "\n";
  for (const Summary::Row& row : summary.rows) {
    text += line(row.name, row.type, to_string(row.output), grouped(row.parameters),
                 grouped(row.flops));
  }
  text += rule + "\n";
  text += line("total", "", "", grouped(summary.parameters), grouped(summary.flops));
  if (summary.trainable_parameters != summary.parameters) {
    text += format_text("trainable parameters: {}\n", grouped(summary.trainable_parameters));
  }
  return text +
         format_text("input {}; a multiply-add counts as two FLOPs\n", to_string(summary.input));
}

}  // namespace attune
