#include "tests/emulation/instructions.h"

#include <bit>
#include <cstdint>
#include <cstring>

namespace emulation {

std::atomic<long> bank_conflicts{0};

namespace {

constexpr std::size_t kCopyBytes = 16;

}  // namespace

// ---- cp.async
// ------------------------------------------------------------------------------------

// Neither memcpy nor memset inside Unobserved: that the target is written now and again later, and
// the source read later, is what the race detector has to see.
void cp_async_16(void* to, const void* from, bool valid, Where where) {
  const auto misaligned = [&](const void* address) {
    return reinterpret_cast<std::uintptr_t>(address) % kCopyBytes != 0;
  };
  if (misaligned(to) || (valid && misaligned(from))) fail("misaligned cp.async", where);
  std::memset(to, 0xff, kCopyBytes);
  const Unobserved unobserved;
  this_block->running->copies.back().push_back({to, from, valid});
}

void cp_async_commit() {
  const Unobserved unobserved;
  this_block->running->copies.emplace_back();
}

void cp_async_wait(std::size_t groups_left) {
  auto& groups = this_block->running->copies;
  while (groups.size() > groups_left + 1) {  // the last one is not committed yet
    for (const PendingCopy& copy : groups.front()) {
      if (copy.valid) {
        std::memcpy(copy.to, copy.from, kCopyBytes);
      } else {
        std::memset(copy.to, 0, kCopyBytes);
      }
    }
    groups.pop_front();
  }
}

// ---- ldmatrix
// ------------------------------------------------------------------------------------

void ldmatrix_x4(unsigned (&r)[4], const void* row, Where where) {
  struct Row {
    unsigned word[4];
    unsigned bank;  // of the 8 groups of banks that are 16 bytes wide
  };
  struct Registers {
    unsigned r[4];
  };
  const auto address = reinterpret_cast<std::uintptr_t>(row);
  if (address % 16 != 0) fail("misaligned ldmatrix", where);
  Row mine;
  // Read here, in each lane's own name, so that the race detector sees who reads what.
  std::memcpy(mine.word, row, sizeof mine.word);
  mine.bank = static_cast<unsigned>(address / 16 % 8);

  const auto load = [](const Row* const* rows, Registers* const* registers) {
    for (int matrix = 0; matrix < 4; ++matrix) {
      const Row* const* rows_of_matrix = rows + std::ptrdiff_t{8} * matrix;
      unsigned banks = 0;
      for (int i = 0; i < 8; ++i) banks |= 1U << rows_of_matrix[i]->bank;
      bank_conflicts += 8 - std::popcount(banks);
      for (int lane = 0; lane < 32; ++lane) {
        registers[lane]->r[matrix] = rows_of_matrix[lane / 4]->word[lane % 4];
      }
    }
  };
  const Registers loaded = warp_operation<Registers>(~0U, mine, load, where);
  for (int i = 0; i < 4; ++i) r[i] = loaded.r[i];
}

// ---- tensor cores
// --------------------------------------------------------------------------------

// cvt.rna: to the nearest of 10 bits of mantissa, ties away from zero.
namespace {

// A NaN must stay one, poison with all bits set above all: rounding would carry out of it.
bool is_nan(unsigned x) { return (x & 0x7fffffffU) > 0x7f800000U; }

}  // namespace

unsigned to_tf32(unsigned x) { return is_nan(x) ? 0x7fffffffU : (x + 0x1000U) & ~0x1fffU; }

unsigned to_bf16_pair(unsigned low, unsigned high) {
  const auto to_bf16 = [](unsigned x) {
    if (is_nan(x)) return 0x7fffU;
    return (x + 0x7fffU + (x >> 16 & 1U)) >> 16;  // to nearest, ties to even
  };
  return to_bf16(low) | to_bf16(high) << 16;
}

namespace {

// d [16, 8] += a [16, K] b [K, 8], all of it spread over the lanes of a warp: lane l holds of a and
// b the elements that `unpack` says, and of d row l / 4 (and 8 below), columns l % 4 * 2 and one
// more.
struct Fragments {
  const float* d;
  const unsigned* a;
  const unsigned* b;
};
struct Accumulators {
  float d[4];
};

template <int K, typename Unpack>
void multiply_add(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], Unpack unpack,
                  Where where) {
  const auto multiply = [unpack](const Fragments* const* in, Accumulators* const* out) {
    float a_matrix[16][K];
    float b_matrix[K][8];
    for (int lane = 0; lane < 32; ++lane) unpack(lane, *in[lane], a_matrix, b_matrix);
    for (int lane = 0; lane < 32; ++lane) {
      for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + i / 2 * 8;
        const int column = lane % 4 * 2 + i % 2;
        float sum = 0;
        for (int k = 0; k < K; ++k) sum += a_matrix[row][k] * b_matrix[k][column];
        out[lane]->d[i] = in[lane]->d[i] + sum;
      }
    }
  };
  const auto result = warp_operation<Accumulators>(~0U, Fragments{d, a, b}, multiply, where);
  for (int i = 0; i < 4; ++i) d[i] = result.d[i];
}

}  // namespace

void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], Where where) {
  const auto unpack = [](int lane, const Fragments& in, auto& a_matrix, auto& b_matrix) {
    const auto value = [](unsigned x) { return std::bit_cast<float>(x & ~0x1fffU); };
    for (int i = 0; i < 4; ++i)
      a_matrix[lane / 4 + i % 2 * 8][lane % 4 + i / 2 * 4] = value(in.a[i]);
    for (int i = 0; i < 2; ++i) b_matrix[lane % 4 + i * 4][lane / 4] = value(in.b[i]);
  };
  multiply_add<8>(d, a, b, unpack, where);
}

void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], Where where) {
  const auto unpack = [](int lane, const Fragments& in, auto& a_matrix, auto& b_matrix) {
    // Two numbers to a register, the first in the lower half; bfloat16 is a float's upper half.
    const auto value = [](unsigned x, int half) {
      return std::bit_cast<float>(half == 0 ? x << 16 : x & 0xffff0000U);
    };
    for (int i = 0; i < 4; ++i) {
      for (int half = 0; half < 2; ++half) {
        a_matrix[lane / 4 + i % 2 * 8][lane % 4 * 2 + half + i / 2 * 8] = value(in.a[i], half);
      }
    }
    for (int i = 0; i < 2; ++i) {
      for (int half = 0; half < 2; ++half) {
        b_matrix[lane % 4 * 2 + half + i * 8][lane / 4] = value(in.b[i], half);
      }
    }
  };
  multiply_add<16>(d, a, b, unpack, where);
}

}  // namespace emulation
