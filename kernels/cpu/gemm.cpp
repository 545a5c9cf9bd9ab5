#include "attune/kernels/cpu/gemm.h"

#include <Eigen/Core>

#include "attune/kernels/cpu/parallel.h"

namespace attune::kernels::cpu {
namespace {

template <typename T>
using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <typename T>
using ConstView = Eigen::Map<const Matrix<T>>;

template <typename Out, typename A, typename B>
void multiply(Out c, const A& a, const B& b, bool accumulate) {
  if (accumulate) {
    c.noalias() += a * b;
  } else {
    c.noalias() = a * b;
  }
}

}  // namespace

template <typename T>
void gemm(T* c, const T* a, const T* b, std::int64_t m, std::int64_t n, std::int64_t k,
          bool transpose_a, bool transpose_b, bool accumulate) {
  if (n == 0) return;
  constexpr std::int64_t kRows = 64;  // enough to be worth reading B for
  const ConstView<T> all_a(a, transpose_a ? k : m, transpose_a ? m : k);
  const ConstView<T> all_b(b, transpose_b ? n : k, transpose_b ? k : n);

  parallel_for_ranges(m, kRows, [&](Range rows) {
    Eigen::Map<Matrix<T>> out(c + rows.first * n, rows.size(), n);
    // A transpose is a type in Eigen, so each of the four products is code of its own.
    if (transpose_a) {
      const auto rows_of_a = all_a.middleCols(rows.first, rows.size()).transpose();
      if (transpose_b) {
        multiply(out, rows_of_a, all_b.transpose(), accumulate);
      } else {
        multiply(out, rows_of_a, all_b, accumulate);
      }
    } else {
      const auto rows_of_a = all_a.middleRows(rows.first, rows.size());
      if (transpose_b) {
        multiply(out, rows_of_a, all_b.transpose(), accumulate);
      } else {
        multiply(out, rows_of_a, all_b, accumulate);
      }
    }
  });
}

template void gemm(float*, const float*, const float*, std::int64_t, std::int64_t, std::int64_t,
                   bool, bool, bool);
template void gemm(double*, const double*, const double*, std::int64_t, std::int64_t, std::int64_t,
                   bool, bool, bool);

}  // namespace attune::kernels::cpu
