#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

// What the fuzzers run (fuzzer.cpp), and the regression test on its corpus (fuzz_test.cpp): each
// gives bytes to a reader of files, which may throw Error and nothing else, and looks at all that
// it returns.
namespace attune::test {

using Bytes = std::span<const std::uint8_t>;

/// A safetensors file.
void fuzz_safetensors(Bytes bytes);
/// A checkpoint.
void fuzz_checkpoint(Bytes bytes);
/// Files of CIFAR-10 and CIFAR-100: the names of the classes up to a byte 0, then the images. All
/// of it is images if no byte is 0 in the first kilobyte.
void fuzz_cifar(Bytes bytes);
/// A PNG, JPEG, BMP, GIF, PPM or PGM file.
void fuzz_image(Bytes bytes);

}  // namespace attune::test
