// The entry of a fuzzer; the build defines ATTUNE_FUZZ_TARGET as one of targets.h.

#include "tests/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  attune::test::ATTUNE_FUZZ_TARGET({data, size});
  return 0;
}
