#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "attune/core/error.h"
#include "attune/core/tensor.h"
#include "tests/test_util.h"

// Reads the golden files of tests/golden (see README.md there).
namespace attune::test {

using Json = nlohmann::json;

/// The contents of tests/golden/<file>.
inline Json read_golden(const std::string& file) {
  const std::string path = std::string(ATTUNE_TEST_DATA_DIR) + "/golden/" + file;
  std::ifstream stream(path);
  if (!stream) throw Error(path + ": cannot be opened");
  return Json::parse(stream);
}

/// A stored tensor {"shape": [...], "data": [...]}, in float64 unless another dtype is wanted.
inline Tensor golden_tensor(const Json& stored, DType dtype = DType::float64) {
  const Shape shape(stored.at("shape").get<std::vector<std::int64_t>>());
  return Tensor::from(stored.at("data").get<std::vector<double>>(), shape).to(dtype);
}

/// tensors[name] as a parameter that wants a gradient, or an undefined tensor if there is none.
inline Tensor golden_leaf(const Json& tensors, const std::string& name, DType dtype) {
  if (!tensors.contains(name)) return {};
  return golden_tensor(tensors.at(name), dtype).set_requires_grad();
}

/// The largest difference, relative to the largest golden value. Infinity if the shapes differ or
/// there is no actual tensor, NaN if an element is, so that CHECK(error <= tolerance) fails.
inline double golden_error(const Tensor& actual, const Json& stored) {
  const Tensor expected = golden_tensor(stored);
  if (!actual.defined() || actual.shape() != expected.shape()) {
    return std::numeric_limits<double>::infinity();
  }
  return relative_error(actual.to_vector<double>(), expected.to_vector<double>());
}

/// What results may differ by from float64 PyTorch: rounding alone.
inline double golden_tolerance(DType dtype) { return dtype == DType::float64 ? 1e-12 : 1e-5; }

}  // namespace attune::test
