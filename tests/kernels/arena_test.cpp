#include "attune/kernels/arena.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "tests/catch.h"
#include "tests/test_util.h"

namespace attune::kernels {
namespace {

constexpr std::int64_t kGrain = Arena::kGrain;

// What DeviceMemory does: grows by what is missing behind the free part at the end.
std::int64_t allocate(Arena& arena, std::int64_t bytes) {
  std::optional<std::int64_t> offset = arena.allocate(bytes);
  if (!offset) {
    arena.grow(Arena::rounded(bytes) - arena.free_at_end());
    offset = arena.allocate(bytes);
  }
  REQUIRE(offset.has_value());
  return *offset;
}

TEST_CASE("arena: what is asked for is cut from the smallest part that holds it") {
  Arena arena;
  arena.grow(20 * kGrain);
  CHECK(arena.allocate(1) == 0);
  CHECK(arena.allocate(5 * kGrain) == kGrain);
  CHECK(arena.allocate(kGrain) == 6 * kGrain);
  CHECK(arena.allocate(3 * kGrain - 1) == 7 * kGrain);
  CHECK(arena.allocate(kGrain) == 10 * kGrain);
  CHECK(arena.in_use() == 11 * kGrain);
  arena.release(kGrain, 5 * kGrain);
  arena.release(7 * kGrain, 3 * kGrain - 1);
  CHECK(arena.allocate(2 * kGrain) == 7 * kGrain);  // not from the 5 grains, nor from the 9
  CHECK(arena.allocate(4 * kGrain) == kGrain);
  CHECK(arena.allocate(kGrain) == 5 * kGrain);  // 1 grain is left here and at 9: the first
  CHECK(arena.allocate(10 * kGrain) == std::nullopt);
  CHECK(arena.free_at_end() == 9 * kGrain);
}

TEST_CASE("arena: what is released joins its neighbours, whatever the order") {
  std::vector<int> order{0, 1, 2, 3};
  do {
    Arena arena;
    arena.grow(4 * kGrain);
    for (int i = 0; i < 4; ++i) CHECK(arena.allocate(kGrain) == i * kGrain);
    CHECK(arena.free_at_end() == 0);
    for (const int i : order) arena.release(i * kGrain, kGrain);
    CHECK(arena.in_use() == 0);
    CHECK(arena.allocate(4 * kGrain) == 0);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_CASE("arena: grows and shrinks at its end") {
  Arena arena;
  CHECK(arena.free_at_end() == 0);
  CHECK(arena.allocate(1) == std::nullopt);
  CHECK(allocate(arena, kGrain) == 0);
  CHECK(allocate(arena, 2 * kGrain) == kGrain);
  arena.release(kGrain, 2 * kGrain);
  CHECK(allocate(arena, 5 * kGrain) == kGrain);  // with the two that are free there
  CHECK(arena.size() == 6 * kGrain);
  arena.release(kGrain, 5 * kGrain);
  arena.shrink(4 * kGrain);
  CHECK(arena.size() == 2 * kGrain);
  CHECK(arena.free_at_end() == kGrain);
  arena.shrink(kGrain);
  CHECK(arena.free_at_end() == 0);
  arena.release(0, kGrain);
  arena.shrink(kGrain);
  CHECK(arena.size() == 0);
}

TEST_CASE("arena: random use, checked byte by byte") {
  struct Block {
    std::int64_t offset, bytes;
  };
  Arena arena;
  std::vector<Block> blocks;
  std::vector<bool> used;
  const auto mark = [&](const Block& block, bool to) {
    used.resize(static_cast<std::size_t>(arena.size() / kGrain));
    for (std::int64_t i = 0; i < Arena::rounded(block.bytes) / kGrain; ++i) {
      const auto grain = static_cast<std::size_t>(block.offset / kGrain + i);
      CHECK(used.at(grain) != to);
      used[grain] = to;
    }
  };
  test::Random random(1);
  for (int i = 0; i < 3000; ++i) {
    if (blocks.empty() || random.integer(0, 99) < 55) {
      const std::int64_t bytes = random.integer(1, 20 * kGrain);
      blocks.push_back({allocate(arena, bytes), bytes});
      mark(blocks.back(), true);
    } else {
      const auto at = static_cast<std::size_t>(random.integer(0, std::ssize(blocks) - 1));
      mark(blocks[at], false);
      arena.release(blocks[at].offset, blocks[at].bytes);
      blocks[at] = blocks.back();
      blocks.pop_back();
    }
    CHECK(arena.in_use() == kGrain * std::count(used.begin(), used.end(), true));
  }
  for (const Block& block : blocks) arena.release(block.offset, block.bytes);
  CHECK(arena.in_use() == 0);
  CHECK(arena.free_at_end() == arena.size());  // in one piece
}

TEST_CASE("arena: a training step leaves hardly any gaps") {
  // Sizes of activations as they shrink from layer to layer, each with a workspace on the way; then
  // backward, where a gradient of equal size takes the place of each.
  Arena arena;
  std::int64_t peak = 0;
  for (int step = 0; step < 3; ++step) {
    std::vector<std::int64_t> offsets, sizes;
    for (int layer = 0; layer < 60; ++layer) {
      sizes.push_back((1000 - 13 * layer) * kGrain);
      offsets.push_back(allocate(arena, sizes.back()));
      const std::int64_t workspace = (50 + 7 * (layer % 5)) * kGrain;
      arena.release(allocate(arena, workspace), workspace);
      peak = std::max(peak, arena.in_use());
    }
    std::int64_t gradient = allocate(arena, sizes.back());
    for (std::size_t layer = sizes.size(); layer-- > 1;) {
      const std::int64_t next = allocate(arena, sizes[layer - 1]);
      peak = std::max(peak, arena.in_use());
      arena.release(gradient, sizes[layer]);
      arena.release(offsets[layer], sizes[layer]);
      gradient = next;
    }
    arena.release(gradient, sizes[0]);
    arena.release(offsets[0], sizes[0]);
    CHECK(arena.in_use() == 0);
  }
  CHECK(static_cast<double>(arena.size()) <= 1.03 * static_cast<double>(peak));
}

}  // namespace
}  // namespace attune::kernels
