#pragma once

#include <attune/core/random.h>
#include <attune/core/tensor.h>
#include <attune/data/dataset.h>
#include <attune/data/transforms.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "paper/detection/boxes.h"

namespace attune::examples {

/// Lengths are in pixels.
struct SceneOptions {
  std::int64_t side = 128;     ///< of a scene, which is square
  std::int64_t smallest = 24;  ///< geometric mean of an object's sides, at least
  std::int64_t largest = 56;   ///< at most
  std::int64_t most_objects = 5;
};

struct Scene {
  Image image;  ///< [side, side, 3], from 0 to 1
  std::vector<Object> objects;
};

/// Scenes, normalised, as a detector takes them.
struct SceneBatch {
  Tensor images;  ///< [N, side, side, 3]
  Truth objects;
};

/// Images to detect in, made of images to classify: up to most_objects of them, stretched a little,
/// are pasted onto a random texture, where they do not cover each other. Scene i is a function of
/// the images, the options, `seed` and i alone.
class Scenes {
 public:
  Scenes(std::shared_ptr<const Dataset> images, const ChannelStatistics& statistics,
         const SceneOptions& options, std::uint64_t seed);

  Scene draw(std::int64_t index) const;
  /// Scenes first, ..., first + count - 1.
  SceneBatch batch(std::int64_t first, std::int64_t count) const;

 private:
  Image texture(RandomStream& random) const;
  /// Where another object has room; a box without area if none was found in a few tries.
  Box free_place(const std::vector<Object>& objects, RandomStream& random) const;
  void paste(const Object& object, std::int64_t image, Image& scene, RandomStream& random) const;

  std::shared_ptr<const Dataset> images_;
  Normalize normalize_;
  SceneOptions options_;
  std::uint64_t seed_;
};

}  // namespace attune::examples
