#include "attune/core/tensor.h"

#include <algorithm>

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/step_graph.h"
#include "attune/kernels/elementwise.h"
#include "attune/kernels/kept_results.h"

namespace attune {
namespace {

std::atomic<std::uint64_t> last_version{0};

// Before every write.
void count_write(const Tensor& tensor) {
  tensor.storage().bump_version();
  before_replay_writes(tensor.shared_storage());
}

// Both on the CPU.
void convert(Tensor& to, const Tensor& from) {
  visit_dtype(to.dtype(), [&]<typename To>(To) {
    visit_dtype(from.dtype(), [&]<typename From>(From) {
      std::transform(from.data<From>(), from.data<From>() + from.count(), to.mutable_data<To>(),
                     [](From value) { return static_cast<To>(value); });
    });
  });
}

void copy_elements(Tensor& to, const Tensor& from) {
  if (to.device() == Device::meta || to.count() == 0) return;
  if (from.device() == Device::meta) {
    throw Error("copy: a tensor on meta has no elements to copy to " + to_string(to.device()));
  }
  if (to.dtype() == from.dtype()) {
    kernels::copy(to.device(), to.storage().data(), from.device(), from.storage().data(),
                  to.bytes());
  } else if (to.device() == Device::cpu && from.device() == Device::cpu) {
    convert(to, from);
  } else {
    copy_elements(to, from.to(Device::cpu).to(to.dtype()));
  }
}

}  // namespace

// ---- Storage ----

Storage::Storage(Device device, std::int64_t bytes, MemoryPurpose purpose)
    : device_(device),
      purpose_(purpose),
      bytes_(bytes),
      version_(++last_version),
      data_(kernels::allocate(device, bytes, purpose)) {}

Storage::~Storage() {
  if (may_have_result_) kernels::drop_kept_result(data_);
  kernels::deallocate(device_, data_, bytes_, purpose_);
}

void Storage::bump_version() {
  version_ = ++last_version;
  if (may_have_result_.exchange(false)) kernels::drop_kept_result(data_);
}

void Storage::set_purpose(MemoryPurpose purpose) {
  kernels::relabel(device_, bytes_, purpose_, purpose);
  purpose_ = purpose;
}

// ---- Making tensors ----

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device, MemoryPurpose purpose) {
  std::int64_t bytes = 0;
  if (__builtin_mul_overflow(shape.count(), size_of(dtype), &bytes)) {
    throw Error(format_text("tensor: {} has too many bytes", to_string(shape)));
  }
  return {std::make_shared<Storage>(device, bytes, purpose), shape, dtype};
}

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device,
                    MemoryPurpose purpose) {
  Tensor result = empty(shape, dtype, device, purpose);
  result.fill_(value);
  return result;
}

template <typename T>
Tensor Tensor::from(std::span<const T> values, const Shape& shape, Device device) {
  Tensor result = empty(shape, dtype_of<T>, device);
  if (device == Device::meta) return result;
  if (static_cast<std::int64_t>(values.size()) != shape.count()) {
    throw Error(
        format_text("tensor: {} values do not fill shape {}", values.size(), to_string(shape)));
  }
  kernels::copy(device, result.storage().data(), Device::cpu, values.data(), result.bytes());
  return result;
}

// ---- Elements ----

Storage& Tensor::storage() const {
  if (!storage_) throw Error("tensor: undefined (default-constructed) tensor used");
  return *storage_;
}

void Tensor::check_dtype(DType wanted) const {
  if (dtype_ != wanted) {
    throw Error(
        format_text("tensor: elements of {} read as {}", describe(*this), to_string(wanted)));
  }
}

template <typename T>
const T* Tensor::data() const {
  check_dtype(dtype_of<T>);
  return static_cast<const T*>(storage().data());
}

template <typename T>
T* Tensor::mutable_data() {
  check_dtype(dtype_of<T>);
  count_write(*this);
  return static_cast<T*>(storage().data());
}

double Tensor::item() const {
  if (!defined() || count() != 1) {
    throw Error(format_text("item: {} is not a single element", describe(*this)));
  }
  return to_vector<double>().front();
}

template <typename T>
std::vector<T> Tensor::to_vector() const {
  if (device() == Device::meta) throw Error("to_vector: a tensor on meta has no elements");
  if (device() != Device::cpu) return to(Device::cpu).to_vector<T>();
  std::vector<T> values;
  values.reserve(static_cast<std::size_t>(count()));
  visit_dtype(dtype_, [&]<typename From>(From) {
    const From* elements = data<From>();
    for (std::int64_t i = 0; i < count(); ++i) values.push_back(static_cast<T>(elements[i]));
  });
  return values;
}

Tensor Tensor::clone() const {
  Tensor copy = empty(shape_, dtype_, device(), storage().purpose());
  copy_elements(copy, *this);
  return copy;
}

Tensor Tensor::view(const Shape& shape) const {
  if (shape.count() != count()) {
    throw Error(format_text("view: {} cannot become {}", describe(*this), to_string(shape)));
  }
  return {storage_, shape, dtype_};
}

Tensor Tensor::to(Device device) const {
  if (device == this->device()) return *this;
  Tensor copy = empty(shape_, dtype_, device, storage().purpose());
  copy_elements(copy, *this);
  return copy;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  Tensor copy = empty(shape_, dtype, device(), storage().purpose());
  copy_elements(copy, *this);
  return copy;
}

void Tensor::check_in_place(const char* op) const {
  if (requires_grad() && grad_enabled()) {
    throw Error(format_text("{}: {} takes part in differentiation; change it under a NoGradGuard",
                            op, describe(*this)));
  }
}

void Tensor::copy_(const Tensor& source) {
  check_in_place("copy_");
  if (source.shape() != shape_) {
    throw Error(format_text("copy_: {} into {}", describe(source), describe(*this)));
  }
  count_write(*this);
  copy_elements(*this, source);
}

void Tensor::fill_(double value) {
  check_in_place("fill_");
  visit_dtype(dtype_, [&]<typename T>(T) {
    kernels::fill(device(), mutable_data<T>(), static_cast<T>(value), count());
  });
}

// ---- Differentiation ----

bool Tensor::requires_grad() const { return meta_ && meta_->requires_grad; }

Tensor& Tensor::set_requires_grad(bool requires_grad) {
  if (requires_grad && !is_floating(dtype_)) {
    throw Error(format_text("set_requires_grad: {} is not floating", describe(*this)));
  }
  if (meta_ && meta_->producer && !requires_grad) {
    throw Error("set_requires_grad: only a leaf can be frozen; use detach() on a computed tensor");
  }
  if (!meta_) meta_ = std::make_shared<AutogradMeta>(*this);
  meta_->requires_grad = requires_grad;
  return *this;
}

Tensor Tensor::grad() const { return meta_ ? meta_->grad : Tensor(); }

void Tensor::set_grad(const Tensor& grad) {
  if (!requires_grad()) throw Error("set_grad: this tensor does not require a gradient");
  if (grad.defined() && (grad.shape() != shape_ || grad.dtype() != dtype_)) {
    throw Error(format_text("set_grad: {} for {}", describe(grad), describe(*this)));
  }
  // Without its graph, which may lead back here: a cycle would never be released.
  meta_->grad = grad.detach();
}

void Tensor::zero_grad() {
  if (meta_) meta_->grad = {};
}

void Tensor::retain_grad() {
  if (!requires_grad()) throw Error("retain_grad: this tensor does not require a gradient");
  meta_->retain_grad = true;
}

void Tensor::retire() {
  if (!meta_) meta_ = std::make_shared<AutogradMeta>(*this);
  meta_->retired = true;
}

bool Tensor::retired() const { return meta_ && meta_->retired; }

Tensor Tensor::detach() const { return {storage_, shape_, dtype_}; }

// ---- Messages and checks ----

std::string describe(const Tensor& tensor) {
  if (!tensor.defined()) return "an undefined tensor";
  return format_text("{} {} on {}", to_string(tensor.dtype()), to_string(tensor.shape()),
                     to_string(tensor.device()));
}

void check_rank(const char* op, const char* argument, const Tensor& tensor, int rank) {
  if (!tensor.defined() || tensor.rank() != rank) {
    throw Error(format_text("{}: {} must have {} dimensions, but is {}", op, argument, rank,
                            describe(tensor)));
  }
}

void check_compatible(const char* op, const Tensor& a, const Tensor& b) {
  if (!a.defined() || !b.defined() || a.dtype() != b.dtype() || a.device() != b.device()) {
    throw Error(format_text("{}: {} and {} do not go together", op, describe(a), describe(b)));
  }
}

template Tensor Tensor::from(std::span<const float>, const Shape&, Device);
template Tensor Tensor::from(std::span<const double>, const Shape&, Device);
template Tensor Tensor::from(std::span<const std::int64_t>, const Shape&, Device);
template Tensor Tensor::from(std::span<const std::uint8_t>, const Shape&, Device);
template const float* Tensor::data() const;
template const double* Tensor::data() const;
template const std::int64_t* Tensor::data() const;
template const std::uint8_t* Tensor::data() const;
template float* Tensor::mutable_data();
template double* Tensor::mutable_data();
template std::int64_t* Tensor::mutable_data();
template std::uint8_t* Tensor::mutable_data();
template std::vector<float> Tensor::to_vector() const;
template std::vector<double> Tensor::to_vector() const;
template std::vector<std::int64_t> Tensor::to_vector() const;
template std::vector<std::uint8_t> Tensor::to_vector() const;

}  // namespace attune
