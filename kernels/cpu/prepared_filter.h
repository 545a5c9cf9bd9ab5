#pragma once

#include <cstdint>
#include <memory>

#include "attune/kernels/conv2d_shape.h"
#include "attune/kernels/kept_results.h"

// Before it multiplies, a convolution brings its filter into the order in which its inner loops
// read it, or into the frequency domain. For a single image that takes about as long as
// multiplying; so the prepared filter is kept, if the caller knows by a version that the filter
// stays what it is.
namespace attune::kernels::cpu {

/// What a prepared filter depends on besides the filter: who made it (of an algorithm, an
/// instruction set, a pass), and the geometry, except for the number of images.
struct FilterForm {
  const void* maker = nullptr;
  Conv2dShape shape;

  bool operator==(const FilterForm&) const = default;
};

/// A filter as a pass takes it.
template <typename T>
struct Filter {
  const T* elements = nullptr;
  ContentVersion version = {};  ///< none: not to be kept
  FilterForm form = {};
};

/// Memory for a prepared filter: that of an earlier call, ready for use, or fresh memory. Like
/// Workspace, it is not initialised, and counts as such.
///
///     PreparedFilter<T> prepared(w, size);
///     if (!prepared.is_ready()) {
///       ... prepared.data()[i] = ...
///       prepared.keep();
///     }
template <typename T>
class PreparedFilter {
 public:
  PreparedFilter(const Filter<T>& w, std::int64_t size);
  ~PreparedFilter();
  PreparedFilter(const PreparedFilter&) = delete;
  PreparedFilter& operator=(const PreparedFilter&) = delete;

  bool is_ready() const { return is_ready_; }
  T* data() const { return data_; }
  /// It is complete, and may be kept for the next call, if `w` allows it.
  void keep();

 private:
  struct Kept;

  const T* source_;
  std::shared_ptr<const Kept> kept_;
  T* data_;
  bool is_ready_;
};
// Nothing of it is compiled for one of the larger instruction sets (kernels/CMakeLists.txt).
extern template class PreparedFilter<float>;
extern template class PreparedFilter<double>;

}  // namespace attune::kernels::cpu
