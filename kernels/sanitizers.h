#pragma once

// GCC announces its sanitizers by macros, Clang by features.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define ATTUNE_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ATTUNE_SANITIZED 1
#endif

namespace attune::kernels {

/// Whether a sanitizer watches, which has to see each allocation: it poisons what is given back.
/// Nothing is then kept for the next who asks.
#if defined(ATTUNE_SANITIZED)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace attune::kernels
