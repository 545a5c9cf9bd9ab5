#include "attune/kernels/cpu/prepared_filter.h"

#include "attune/kernels/memory.h"

namespace attune::kernels::cpu {

template <typename T>
struct PreparedFilter<T>::Kept final : KeptResult {
  Kept(const Filter<T>& w, std::int64_t size) : version(w.version), form(w.form), elements(size) {}

  ContentVersion version;
  FilterForm form;
  Workspace<T> elements;
};

template <typename T>
PreparedFilter<T>::PreparedFilter(const Filter<T>& w, std::int64_t size) : source_(w.elements) {
  if (w.version) kept_ = std::dynamic_pointer_cast<const Kept>(kept_result(source_));
  is_ready_ = kept_ && kept_->version == w.version && kept_->form == w.form;
  if (!is_ready_) kept_ = std::make_shared<const Kept>(w, size);
  data_ = kept_->elements.data();
}

template <typename T>
PreparedFilter<T>::~PreparedFilter() = default;

template <typename T>
void PreparedFilter<T>::keep() {
  if (kept_->version) keep_result(source_, kept_);
}

template class PreparedFilter<float>;
template class PreparedFilter<double>;

}  // namespace attune::kernels::cpu
