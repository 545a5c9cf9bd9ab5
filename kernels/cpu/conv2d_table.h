#pragma once

#include "attune/kernels/conv2d.h"
#include "attune/kernels/cpu/prepared_filter.h"

// The convolution kernels of one instruction set. kernels/cpu/simd/ is compiled once for each of
// them; this table is all that the rest of the library sees of it.
namespace attune::kernels::cpu {

template <typename T>
struct Conv2dPasses {
  /// `forward` takes the epilogue's statistics along.
  bool takes_statistics;
  void (*forward)(T* y, const T* x, const Filter<T>& w, const Conv2dShape&,
                  const Conv2dEpilogue<T>&);
  void (*backward_input)(T* dx, const T* dy, const Filter<T>& w, const Conv2dShape&,
                         const Conv2dEpilogue<T>&);
  /// Also dy_sums [K] = the sums of dy over the pixels, unless null.
  void (*backward_weight)(T* dw, const T* x, const T* dy, const Conv2dShape&, bool accumulate,
                          double* dy_sums);
  /// The two above in one sweep through dy and x, `epilogue` being dx's; null if there is none.
  void (*backward)(T* dx, T* dw, const T* x, const T* dy, const T* w, const Conv2dShape&,
                   const Conv2dEpilogue<T>& epilogue, bool accumulate, double* dy_sums);
};

template <typename T>
struct Conv2dAlgorithms {
  Conv2dPasses<T> direct, winograd, depthwise;
};

struct Conv2dTable {
  Conv2dAlgorithms<float> of_float;
  Conv2dAlgorithms<double> of_double;
};

/// The table of the instruction set in use (attune/kernels/cpu_isa.h).
const Conv2dTable& conv2d_table();

}  // namespace attune::kernels::cpu
