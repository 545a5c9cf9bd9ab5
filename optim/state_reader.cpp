#include "attune/optim/state_reader.h"

#include "attune/core/error.h"
#include "attune/core/format_text.h"

namespace attune {

StateReader::StateReader(std::string op, const OptimizerState& state) : op_(std::move(op)) {
  for (const auto& [name, tensor] : state) {
    if (!entries_.emplace(name, tensor).second) {
      throw Error(format_text("{}: the state has two entries '{}'", op_, name));
    }
  }
}

Tensor StateReader::take(const std::string& name, const Shape& shape, DType dtype) {
  const auto entry = entries_.find(name);
  if (entry == entries_.end()) {
    throw Error(format_text("{}: the state has no entry '{}'", op_, name));
  }
  Tensor tensor = entry->second;
  if (!tensor.defined() || tensor.shape() != shape || tensor.dtype() != dtype) {
    throw Error(format_text("{}: '{}' is {}, but must be {} {}", op_, name, describe(tensor),
                            to_string(dtype), to_string(shape)));
  }
  entries_.erase(entry);
  return tensor;
}

std::int64_t StateReader::take_count(const std::string& name, std::int64_t minimum) {
  const std::int64_t count = take(name, {}, DType::int64).to_vector<std::int64_t>().front();
  if (count < minimum) {
    throw Error(format_text("{}: '{}' is {}, but must be at least {}", op_, name, count, minimum));
  }
  return count;
}

Tensor StateReader::take_copy(const std::string& name, const Tensor& like) {
  Tensor copy = Tensor::empty(like.shape(), like.dtype(), like.device(), MemoryPurpose::optimizer);
  copy.copy_(take(name, like.shape(), like.dtype()));
  return copy;
}

void StateReader::check_empty() const {
  if (entries_.empty()) return;
  throw Error(
      format_text("{}: the state has an unexpected entry '{}'", op_, entries_.begin()->first));
}

Tensor state_entry(double value) { return Tensor::scalar(value, DType::float64); }

Tensor state_entry(std::int64_t count) {
  return Tensor::from(std::vector<std::int64_t>{count}, {});
}

}  // namespace attune
