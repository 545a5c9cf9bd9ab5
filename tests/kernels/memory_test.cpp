#include "attune/kernels/memory.h"

#include <cstdint>
#include <limits>
#include <thread>
#include <vector>

#include "attune/kernels/error.h"
#include "tests/catch.h"
#include "tests/test_util.h"

// An allocation that is too large must fail here as it does without a sanitizer.
// NOLINTBEGIN(bugprone-reserved-identifier): the sanitizers look for these names
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }
extern "C" const char* __tsan_default_options() { return "allocator_may_return_null=1"; }
// NOLINTEND(bugprone-reserved-identifier)

namespace attune {
namespace {

using kernels::allocate;
using kernels::deallocate;

TEST_CASE("memory: counters are exact, per purpose and in total") {
  for (const Device device : {test::test_device(), Device::meta}) {
    INFO(to_string(device));
    reset_peak_memory(device);
    const MemoryStats before = memory_stats(device);
    const auto live = [&](MemoryPurpose purpose) {
      return memory_stats(device)[purpose].live - before[purpose].live;
    };
    const auto peak = [&](MemoryPurpose purpose) {
      return memory_stats(device)[purpose].peak - before[purpose].live;
    };

    void* a = allocate(device, 1000, MemoryPurpose::activation);
    void* p = allocate(device, 37, MemoryPurpose::parameter);
    CHECK(live(MemoryPurpose::activation) == 1000);
    CHECK(live(MemoryPurpose::parameter) == 37);
    deallocate(device, a, 1000, MemoryPurpose::activation);
    void* g = allocate(device, 500, MemoryPurpose::gradient);
    CHECK(live(MemoryPurpose::activation) == 0);
    CHECK(peak(MemoryPurpose::activation) == 1000);
    CHECK(peak(MemoryPurpose::gradient) == 500);

    const MemoryStats during = memory_stats(device);
    CHECK(during.total.live - before.total.live == 537);
    CHECK(during.total.peak - before.total.live == 1037);  // not 1000 + 37 + 500
    CHECK(during.allocations - before.allocations == 3);

    reset_peak_memory(device);
    CHECK(memory_stats(device).total.peak - before.total.live == 537);
    CHECK(peak(MemoryPurpose::activation) == 0);

    deallocate(device, p, 37, MemoryPurpose::parameter);
    deallocate(device, g, 500, MemoryPurpose::gradient);
    CHECK(memory_stats(device).total.live == before.total.live);
  }
}

TEST_CASE("memory: relabelling moves bytes from one purpose to another") {
  const MemoryStats before = memory_stats(Device::meta);
  reset_peak_memory(Device::meta);
  void* data = allocate(Device::meta, 64, MemoryPurpose::activation);
  kernels::relabel(Device::meta, 64, MemoryPurpose::activation, MemoryPurpose::gradient);
  const MemoryStats after = memory_stats(Device::meta);
  CHECK(after[MemoryPurpose::activation].live == before[MemoryPurpose::activation].live);
  CHECK(after[MemoryPurpose::gradient].live == before[MemoryPurpose::gradient].live + 64);
  CHECK(after.total.live == before.total.live + 64);
  CHECK(after.total.peak == before.total.live + 64);
  deallocate(Device::meta, data, 64, MemoryPurpose::gradient);
}

TEST_CASE("memory: bytes are aligned to cache lines and usable to the last one") {
  for (const std::int64_t bytes : {1, 63, 64, 65, 100000}) {
    auto* data =
        static_cast<unsigned char*>(allocate(Device::cpu, bytes, MemoryPurpose::activation));
    CHECK(reinterpret_cast<std::uintptr_t>(data) % 64 == 0);
    data[0] = data[bytes - 1] = 1;
    deallocate(Device::cpu, data, bytes, MemoryPurpose::activation);
  }
}

TEST_CASE("memory: what is freed is kept for the next who asks, and released on request") {
  release_idle_memory(Device::cpu);
  CHECK(memory_stats(Device::cpu).idle == 0);
  const std::int64_t bytes = 3 << 20;
  void* first = allocate(Device::cpu, bytes, MemoryPurpose::activation);
  CHECK(memory_stats(Device::cpu).idle == 0);
  deallocate(Device::cpu, first, bytes, MemoryPurpose::activation);
  const std::int64_t kept = memory_stats(Device::cpu).idle;
  if (kept == 0) return;  // under a sanitizer, which has to see each allocation
  CHECK(kept >= bytes);
  CHECK(kept <= bytes + bytes / 8);

  // A slightly smaller one fits the same block; a much smaller one does not.
  void* second = allocate(Device::cpu, bytes - 100, MemoryPurpose::gradient);
  CHECK(second == first);
  CHECK(memory_stats(Device::cpu).idle == 0);
  deallocate(Device::cpu, second, bytes - 100, MemoryPurpose::gradient);
  void* third = allocate(Device::cpu, bytes / 2, MemoryPurpose::gradient);
  CHECK(third != first);
  CHECK(memory_stats(Device::cpu).idle == kept);
  deallocate(Device::cpu, third, bytes / 2, MemoryPurpose::gradient);

  release_idle_memory(Device::cpu);
  CHECK(memory_stats(Device::cpu).idle == 0);
}

TEST_CASE("memory: nothing and meta memory have no address") {
  const std::int64_t before = memory_stats(Device::cpu).allocations;
  CHECK(allocate(Device::cpu, 0, MemoryPurpose::activation) == nullptr);
  CHECK(memory_stats(Device::cpu).allocations == before);
  deallocate(Device::cpu, nullptr, 0, MemoryPurpose::activation);

  const std::int64_t terabytes = std::int64_t{1} << 50;
  CHECK(allocate(Device::meta, terabytes, MemoryPurpose::activation) == nullptr);
  CHECK(memory_stats(Device::meta).total.live >= terabytes);
  deallocate(Device::meta, nullptr, terabytes, MemoryPurpose::activation);
}

TEST_CASE("memory: exhaustion is an error that names the bytes, and counts nothing") {
  void* held = allocate(Device::cpu, 128, MemoryPurpose::optimizer);
  const MemoryStats before = memory_stats(Device::cpu);
  const std::int64_t bytes = std::numeric_limits<std::int64_t>::max() / 2;
  const std::string message =
      test::message_of<Error>([&] { allocate(Device::cpu, bytes, MemoryPurpose::activation); });
  CHECK(message == "allocate: out of memory on cpu: " + std::to_string(bytes) +
                       " bytes asked for, " + std::to_string(before.total.live) + " live");
  CHECK(memory_stats(Device::cpu).total.live == before.total.live);
  CHECK(memory_stats(Device::cpu).total.peak == before.total.peak);
  deallocate(Device::cpu, held, 128, MemoryPurpose::optimizer);

  CHECK(test::message_of<Error>([] { allocate(Device::cpu, -1, MemoryPurpose::activation); }) ==
        "allocate: -1 bytes asked for");
}

TEST_CASE("memory: devices that there are not are refused by name") {
  const std::string refusal = "allocate: cuda:63 is not available, ";
  const std::string message =
      test::message_of<Error>([] { allocate(Device::cuda(63), 8, MemoryPurpose::activation); });
  CHECK(message.substr(0, refusal.size()) == refusal);
  CHECK(memory_stats(Device::cuda(63)).total.live == 0);
  CHECK(test::message_of<Error>([] { memory_stats(Device::cuda(64)); }) ==
        "memory_stats: there is no device cuda:64");
  CHECK(test::message_of<Error>([] { reset_peak_memory(Device::cuda(-1)); }) ==
        "reset_peak_memory: there is no device cuda:-1");
}

TEST_CASE("memory: counters are exact with several threads") {
  const MemoryStats before = memory_stats(Device::cpu);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (std::int64_t i = 1; i <= 500; ++i) {
        void* data = allocate(Device::cpu, i, MemoryPurpose::activation);
        kernels::relabel(Device::cpu, i, MemoryPurpose::activation, MemoryPurpose::gradient);
        deallocate(Device::cpu, data, i, MemoryPurpose::gradient);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const MemoryStats after = memory_stats(Device::cpu);
  CHECK(after.allocations - before.allocations == 2000);
  CHECK(after.total.live == before.total.live);
  CHECK(after[MemoryPurpose::activation].live == before[MemoryPurpose::activation].live);
  CHECK(after[MemoryPurpose::gradient].live == before[MemoryPurpose::gradient].live);
}

TEST_CASE("memory: devices and purposes have names") {
  CHECK(to_string(Device::cpu) == "cpu");
  CHECK(to_string(Device::meta) == "meta");
  CHECK(to_string(Device::cuda(3)) == "cuda:3");
  CHECK(std::string(to_string(MemoryPurpose::parameter)) == "parameter");
  CHECK(std::string(to_string(MemoryPurpose::activation)) == "activation");
  CHECK(std::string(to_string(MemoryPurpose::gradient)) == "gradient");
  CHECK(std::string(to_string(MemoryPurpose::optimizer)) == "optimizer");
  CHECK(std::string(to_string(MemoryPurpose::workspace)) == "workspace");
}

}  // namespace
}  // namespace attune
