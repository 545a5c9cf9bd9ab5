#include "attune/layers/dropout.h"

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/dropout.h"

namespace attune {

Dropout::Dropout(double p, Generator* generator) : p_(p), generator_(generator) {
  if (!(p >= 0 && p < 1)) throw Error(format_text("Dropout: p must be in [0, 1), but is {}", p));
}

Tensor Dropout::forward(const Tensor& x) {
  if (!training() || p_ == 0) return x;
  return dropout(x, p_, generator_ != nullptr ? *generator_ : default_generator());
}

}  // namespace attune
