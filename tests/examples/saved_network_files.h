#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "attune/core/random.h"
#include "attune/layers/models/resnet.h"
#include "attune/layers/weights.h"
#include "tests/examples/run_program.h"

// Small files for programs that open a network.
namespace attune::test {

/// Saves a ResNet-20 and returns its path. Its statistics are those of a batch of noise.
inline std::string save_resnet20(const RunDirectory& directory, const std::string& name,
                                 std::int64_t classes, const SafetensorsMetadata& metadata = {},
                                 bool deployed = false) {
  Generator generator{1, 0};
  const auto net = resnet20({.classes = classes}, generator);
  for (int i = 0; i < 5; ++i) (*net)(random_normal({8, 32, 32, 3}, 0, 1, generator));
  if (deployed) net->deploy();
  std::string path = (directory / name).string();
  save_weights(*net, path, {.metadata = metadata});
  return path;
}

/// A picture of one colour, in PPM.
inline std::string write_picture(const RunDirectory& directory, const std::string& name,
                                 std::uint8_t red = 200) {
  std::string path = (directory / name).string();
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream file(path, std::ios::binary);
  file << "P6 40 36 255\n";
  for (int pixel = 0; pixel < 40 * 36; ++pixel) file << static_cast<char>(red) << "\x40\x80";
  return path;
}

}  // namespace attune::test
