#include "attune/kernels/cpu/conv2d_table.h"
#include "attune/kernels/cpu/simd/depthwise.h"
#include "attune/kernels/cpu/simd/direct.h"
#include "attune/kernels/cpu/simd/winograd.h"

namespace attune::kernels::cpu::ATTUNE_ISA {
namespace {

template <typename T>
constexpr Conv2dAlgorithms<T> algorithms() {
  return {.direct = {false, direct_forward<T>, direct_backward_input<T>, direct_backward_weight<T>,
                     nullptr},
          .winograd = {true, winograd_forward<T>, winograd_backward_input<T>,
                       winograd_backward_weight<T>, winograd_backward<T>},
          .depthwise = {false, depthwise_forward<T>, depthwise_backward_input<T>,
                        depthwise_backward_weight<T>, nullptr}};
}

}  // namespace

extern const Conv2dTable kTable;  // declared by isa.cpp as well
constinit const Conv2dTable kTable{algorithms<float>(), algorithms<double>()};

}  // namespace attune::kernels::cpu::ATTUNE_ISA
