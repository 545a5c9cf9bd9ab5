#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

// The vector registers of one instruction set. Everything below this folder is compiled once for
// each of them, into a namespace of its own (ATTUNE_ISA), so that the linker keeps them apart. What
// code here calls of inline functions and templates from outside must end up inlined: the linker
// would merge a copy with the one that everyone else uses (scripts/check_isa_symbols looks).
//
// Vectors are the extension that GCC and Clang share: arithmetic works on all lanes, a scalar
// operand is broadcast. Their size has to be that of a register: longer ones are split up by the
// compiler, and live on the stack.

namespace attune::kernels::cpu::ATTUNE_ISA {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
inline constexpr int kVectorRegisters = 32;
#elif defined(__AVX2__)
inline constexpr int kVectorBytes = 32;
inline constexpr int kVectorRegisters = 16;
#elif defined(__x86_64__)
inline constexpr int kVectorBytes = 16;
inline constexpr int kVectorRegisters = 16;
#else
inline constexpr int kVectorBytes = 16;  // NEON, AltiVec
inline constexpr int kVectorRegisters = 32;
#endif

// Kernels are put together from pieces that must end up in one function, or else what they share
// is passed through memory. The second is for lambdas: [&](...) ATTUNE_INLINE_LAMBDA {...}
#define ATTUNE_INLINE [[gnu::always_inline]] inline
#define ATTUNE_INLINE_LAMBDA __attribute__((always_inline))

template <typename T>
struct VectorType;
template <>
struct VectorType<float> {
  using type [[gnu::vector_size(kVectorBytes)]] = float;
  using unaligned [[gnu::vector_size(kVectorBytes), gnu::aligned(4), gnu::may_alias]] = float;
};
template <>
struct VectorType<double> {
  using type [[gnu::vector_size(kVectorBytes)]] = double;
  using unaligned [[gnu::vector_size(kVectorBytes), gnu::aligned(8), gnu::may_alias]] = double;
};

template <typename T>
using Vector = typename VectorType<T>::type;

/// Elements of a vector.
template <typename T>
inline constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <typename T>
ATTUNE_INLINE Vector<T> load(const T* from) {
  return *reinterpret_cast<const typename VectorType<T>::unaligned*>(from);
}

template <typename T>
ATTUNE_INLINE void store(T* to, Vector<T> value) {
  *reinterpret_cast<typename VectorType<T>::unaligned*>(to) = value;
}

/// A scalar's counterpart of load(), for what is written for both; and of store().
template <typename V, typename T>
ATTUNE_INLINE V load_as(const T* from) {
  if constexpr (sizeof(V) == sizeof(T)) {
    return *from;
  } else {
    return load(from);
  }
}
template <typename T>
ATTUNE_INLINE void store(T* to, std::type_identity_t<T> value) {
  *to = value;
}

/// Whether a vector is as long as a cache line.
inline constexpr bool kFillsLines = kVectorBytes == 64;

/// A store of what nobody reads soon: if it is a whole line, past the caches, so that the line is
/// not fetched before. (Other threads see it from the end of the parallel loop on, which is an
/// atomic operation.)
template <typename V, typename T>
ATTUNE_INLINE void store_past_caches(T* to, V value) {
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == kVectorBytes) {
    if (reinterpret_cast<std::uintptr_t>(to) % kVectorBytes == 0) {
      if constexpr (sizeof(T) == sizeof(float)) {
        _mm512_stream_ps(to, value);
      } else {
        _mm512_stream_pd(to, value);
      }
      return;
    }
  }
#endif
  store(to, value);
}

/// The first `count` lanes; the others are zero, and not read.
template <typename T>
ATTUNE_INLINE Vector<T> load_partly(const T* from, int count) {
#if defined(__AVX512F__)
  const auto mask = static_cast<unsigned>((1 << count) - 1);
  if constexpr (sizeof(T) == sizeof(float)) {
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), from);
  } else {
    return _mm512_maskz_loadu_pd(static_cast<__mmask8>(mask), from);
  }
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == sizeof(float)) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_maskload_ps(from, _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lane));
  } else {
    const __m256i lane = _mm256_setr_epi64x(0, 1, 2, 3);
    return _mm256_maskload_pd(from, _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), lane));
  }
#else
  T lanes[kLanes<T>] = {};
  std::memcpy(lanes, from, static_cast<std::size_t>(count) * sizeof(T));
  return load(lanes);
#endif
}

/// Calls body(integral_constant<int, 0>), ..., body(integral_constant<int, kCount - 1>). A loop
/// that the compiler unrolls late, after deciding what lives in registers, is not enough: an array
/// of vectors indexed by its counter would be on the stack.
template <int kCount, typename Body>
ATTUNE_INLINE void unroll(const Body& body) {
  [&]<int... i>(std::integer_sequence<int, i...>) ATTUNE_INLINE_LAMBDA {
    (body(std::integral_constant<int, i>{}), ...);
  }
  (std::make_integer_sequence<int, kCount>{});
}

/// Exchanges rows and lanes. A stage does so for one bit of their numbers.
template <typename T, int kStage = 1>
ATTUNE_INLINE void transpose(Vector<T> (&rows)[kLanes<T>]) {
  constexpr int kCount = kLanes<T>;
  if constexpr (kStage < kCount) {
    unroll<kCount / 2>([&](auto half) ATTUNE_INLINE_LAMBDA {
      constexpr int kRow = half / kStage * 2 * kStage + half % kStage;
      const Vector<T> a = rows[kRow], b = rows[kRow + kStage];
      [&]<int... i>(std::integer_sequence<int, i...>) ATTUNE_INLINE_LAMBDA {
        rows[kRow] = __builtin_shufflevector(a, b, (i & kStage ? kCount + i - kStage : i)...);
        rows[kRow + kStage] =
            __builtin_shufflevector(a, b, (i & kStage ? kCount + i : i + kStage)...);
      }
      (std::make_integer_sequence<int, kCount>{});
    });
    transpose<T, 2 * kStage>(rows);
  }
}

}  // namespace attune::kernels::cpu::ATTUNE_ISA
