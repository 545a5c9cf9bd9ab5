#include "attune/kernels/threads.h"

#include <atomic>
#include <thread>
#include <vector>

#include "attune/kernels/cpu/parallel.h"
#include "attune/kernels/error.h"
#include "tests/catch.h"
#include "tests/kernels/kernel_test.h"
#include "tests/test_util.h"

namespace attune {
namespace {

TEST_CASE("threads: the number is the whole process's, and at least one") {
  CHECK(num_threads() >= 1);
  {
    const test::ThreadCount five(5);
    CHECK(num_threads() == 5);
    int seen = 0;
    std::thread([&] { seen = num_threads(); }).join();
    CHECK(seen == 5);
    CHECK(test::message_of<Error>([] { set_num_threads(0); }) ==
          "set_num_threads: at least 1 thread is needed, got 0");
    CHECK(num_threads() == 5);
  }
}

TEST_CASE("threads: pieces of work run apart, each on one thread") {
  for (const int count : {1, 3}) {
    const test::ThreadCount threads(count);
    std::vector<int> visits(20), seen(20);
    run_in_parallel(20, [&](std::int64_t i) {
      ++visits[static_cast<std::size_t>(i)];
      seen[static_cast<std::size_t>(i)] = num_threads();
    });
    CHECK(visits == std::vector<int>(20, 1));
    CHECK(seen == std::vector<int>(20, 1));
    CHECK(num_threads() == count);

    std::atomic<int> others = 0;
    CHECK(test::message_of<Error>([&] {
            run_in_parallel(20, [&](std::int64_t i) {
              if (i == 0) throw Error("the first");
              ++others;
            });
          }) == "the first");
    CHECK(num_threads() == count);
    CHECK(others == (count == 1 ? 0 : 19));  // one thread ends there, several do the rest
  }
}

TEST_CASE("threads: pieces cover everything once, in order, nearly equal") {
  for (std::int64_t count = 0; count < 40; ++count) {
    for (std::int64_t pieces = 1; pieces < 20; ++pieces) {
      std::int64_t next = 0;
      for (std::int64_t i = 0; i < pieces; ++i) {
        const kernels::cpu::Range range = kernels::cpu::piece(count, pieces, i);
        CHECK(range.first == next);
        CHECK((range.size() == count / pieces || range.size() == count / pieces + 1));
        next = range.last;
      }
      CHECK(next == count);
    }
  }
}

TEST_CASE("threads: every index is visited once, by a worker that nobody else is") {
  for (const int threads : {1, 2, 3, 8}) {
    const test::ThreadCount several(threads);
    for (const std::int64_t count : {0, 1, 2, 7, 100}) {
      std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
      std::vector<std::atomic<int>> busy(8);
      std::atomic<bool> shared{false};
      const std::int64_t workers = 4;
      kernels::cpu::parallel_for_workers(count, workers, [&](std::int64_t i, std::int64_t worker) {
        if (worker >= std::min(workers, count)) shared = true;
        std::atomic<int>& mine = busy[static_cast<std::size_t>(worker)];
        if (mine++ != 0) shared = true;
        ++visits[static_cast<std::size_t>(i)];
        --mine;
      });
      CHECK(!shared);
      std::atomic<std::int64_t> sum{0};
      kernels::cpu::parallel_for_ranges(count, 3, [&](kernels::cpu::Range range) {
        for (std::int64_t i = range.first; i < range.last; ++i) {
          ++visits[static_cast<std::size_t>(i)];
        }
        sum += range.size();
      });
      CHECK(sum == count);
      for (const std::atomic<int>& visit : visits) CHECK(visit == 2);
    }
  }
}

}  // namespace
}  // namespace attune
