#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "attune/core/device.h"
#include "attune/core/dtype.h"
#include "attune/core/memory_stats.h"
#include "attune/core/shape.h"

namespace attune {

struct AutogradMeta;

/// A block of bytes on a device, shared by the tensors that view it. It knows nothing of shapes or
/// gradients.
class Storage {
 public:
  Storage(Device device, std::int64_t bytes, MemoryPurpose purpose);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  Device device() const { return device_; }
  std::int64_t bytes() const { return bytes_; }
  void* data() const { return data_; }
  MemoryPurpose purpose() const { return purpose_; }
  /// Counts these bytes under another purpose from now on.
  void set_purpose(MemoryPurpose purpose);
  /// Grows with every write access; no other content of any storage has the same. A tensor saved
  /// for backward remembers it, so that backward can tell that the values have been overwritten
  /// since.
  std::uint64_t version() const { return version_; }
  void bump_version();
  /// The version, for who keeps a result of these bytes (attune/kernels/kept_results.h): it is
  /// dropped with the next write access, or with the storage.
  std::uint64_t version_to_keep() {
    may_have_result_ = true;
    return version_;
  }

 private:
  Device device_;
  MemoryPurpose purpose_;
  std::int64_t bytes_;
  std::uint64_t version_;
  std::atomic<bool> may_have_result_ = false;  // several threads may use the same weights
  void* data_;
};

/// An n-dimensional array: a handle to storage, plus shape, dtype and, if it takes part in
/// differentiation, autograd metadata. Copying a Tensor copies the handle; the elements are shared.
/// Elements are contiguous in row-major order, without exception. Images are [N, H, W, C].
class Tensor {
 public:
  /// An undefined tensor: no shape, no elements. Stands for "none" where an argument is optional.
  Tensor() = default;

  static Tensor empty(const Shape& shape, DType dtype = DType::float32,
                      Device device = DefaultDevice::current(),
                      MemoryPurpose purpose = MemoryPurpose::activation);
  static Tensor full(const Shape& shape, double value, DType dtype = DType::float32,
                     Device device = DefaultDevice::current(),
                     MemoryPurpose purpose = MemoryPurpose::activation);
  static Tensor zeros(const Shape& shape, DType dtype = DType::float32,
                      Device device = DefaultDevice::current(),
                      MemoryPurpose purpose = MemoryPurpose::activation) {
    return full(shape, 0, dtype, device, purpose);
  }
  static Tensor ones(const Shape& shape, DType dtype = DType::float32,
                     Device device = DefaultDevice::current()) {
    return full(shape, 1, dtype, device);
  }
  /// A rank-0 tensor.
  static Tensor scalar(double value, DType dtype = DType::float32,
                       Device device = DefaultDevice::current()) {
    return full({}, value, dtype, device);
  }
  /// Copies `values` (T: float, double, std::int64_t, std::uint8_t), row-major; their number must
  /// be shape.count(). On Device::meta they are ignored.
  template <typename T>
  static Tensor from(std::span<const T> values, const Shape& shape,
                     Device device = DefaultDevice::current());
  template <typename T>
  static Tensor from(const std::vector<T>& values, const Shape& shape,
                     Device device = DefaultDevice::current()) {
    return from(std::span<const T>(values), shape, device);
  }

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  std::int64_t size(std::int64_t axis) const { return shape_[axis]; }
  std::int64_t count() const { return shape_.count(); }
  std::int64_t bytes() const { return count() * size_of(dtype_); }
  DType dtype() const { return dtype_; }
  Device device() const { return storage().device(); }
  /// Throws Error if the tensor is undefined.
  Storage& storage() const;
  const std::shared_ptr<Storage>& shared_storage() const { return storage_; }

  /// The elements; T must match dtype(). Null on Device::meta.
  template <typename T>
  const T* data() const;
  /// The same, for writing at once: counts as a change now, which backward, and who keeps a result
  /// of the elements, notice. Writing later through the same pointer does not.
  template <typename T>
  T* mutable_data();

  /// The one element of a one-element tensor, as double.
  double item() const;
  /// All elements, converted to T.
  template <typename T>
  std::vector<T> to_vector() const;

  /// A copy of the elements, outside any graph.
  Tensor clone() const;
  /// The same elements under another shape of equal count, outside any graph.
  Tensor view(const Shape& shape) const;
  /// A copy on another device or with another dtype, outside any graph; *this if nothing changes.
  Tensor to(Device device) const;
  Tensor to(DType dtype) const;
  /// Overwrites the elements, converting the dtype. Shapes must be equal. Refuses a leaf that
  /// requires gradients unless gradients are off (NoGradGuard).
  void copy_(const Tensor& source);
  void fill_(double value);

  // ---- Differentiation (core/autograd.h explains the machinery) ----

  bool requires_grad() const;
  /// Makes this tensor a leaf whose gradient is wanted (or not). Only floating tensors can.
  Tensor& set_requires_grad(bool requires_grad = true);
  /// The gradient that backward() accumulated, or an undefined tensor.
  Tensor grad() const;
  /// Replaces it; shares the elements of `grad`, not its graph.
  void set_grad(const Tensor& grad);
  /// Drops the gradient and its memory.
  void zero_grad();
  /// Keeps the gradient of a tensor that is not a leaf, which backward() otherwise drops.
  void retain_grad();
  /// Accumulates d(this)/d(leaf) into the gradient of every leaf. This tensor must have one
  /// element.
  void backward() const;
  /// The same for any shape: accumulates the gradient of <this, seed>.
  void backward(const Tensor& seed) const;
  /// The same elements, outside any graph.
  Tensor detach() const;

  /// Marks a parameter that its layer has replaced (deploy(), to()): an optimizer that still holds
  /// it refuses to step.
  void retire();
  bool retired() const;

  const std::shared_ptr<AutogradMeta>& autograd_meta() const { return meta_; }
  void set_autograd_meta(std::shared_ptr<AutogradMeta> meta) { meta_ = std::move(meta); }

 private:
  friend class SavedTensor;
  Tensor(std::shared_ptr<Storage> storage, const Shape& shape, DType dtype)
      : storage_(std::move(storage)), shape_(shape), dtype_(dtype) {}
  void check_dtype(DType wanted) const;
  void check_in_place(const char* op) const;

  std::shared_ptr<Storage> storage_;
  Shape shape_;
  DType dtype_ = DType::float32;
  std::shared_ptr<AutogradMeta> meta_;  // null: takes no part in differentiation
};

/// Tensors with their names, in an order that means something.
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

/// "float32 [2, 3] on cpu", for messages.
std::string describe(const Tensor& tensor);

/// Throws Error, beginning with `op`, unless `tensor` is defined and `rank` fits; `argument` names
/// it in the message.
void check_rank(const char* op, const char* argument, const Tensor& tensor, int rank);

/// Throws Error, beginning with `op`, unless both have the same dtype and device.
void check_compatible(const char* op, const Tensor& a, const Tensor& b);

}  // namespace attune
