#include "paper/detection/scenes.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace attune::examples {
namespace {

constexpr std::int64_t kChannels = 3;

double between(double low, double high, RandomStream& random) {
  return low + (high - low) * random.uniform();
}

}  // namespace

Scenes::Scenes(std::shared_ptr<const Dataset> images, const ChannelStatistics& statistics,
               const SceneOptions& options, std::uint64_t seed)
    : images_(std::move(images)), normalize_(statistics), options_(options), seed_(seed) {}

// Octaves of noise, each a small image of random colours, enlarged.
Image Scenes::texture(RandomStream& random) const {
  constexpr double kContrast = 0.35;
  const ImageSize size{options_.side, options_.side, kChannels};
  Image sum{size, std::vector<float>(static_cast<std::size_t>(size.count()), 0.5F)};
  for (std::int64_t cells = 2; cells <= options_.side / 4; cells *= 2) {
    Image octave{{cells, cells, kChannels}, {}};
    const double contrast = between(0, kContrast, random);
    for (std::int64_t i = 0; i < octave.size.count(); ++i) {
      octave.pixels.push_back(static_cast<float>(between(-contrast, contrast, random)));
    }
    Resize(options_.side, options_.side).apply(octave, random);
    for (std::size_t i = 0; i < sum.pixels.size(); ++i) sum.pixels[i] += octave.pixels[i];
  }
  for (float& pixel : sum.pixels) pixel = std::clamp(pixel, 0.0F, 1.0F);
  return sum;
}

Box Scenes::free_place(const std::vector<Object>& objects, RandomStream& random) const {
  constexpr int kTries = 20;
  constexpr double kMostStretched = 1.25;  // the ratio of the sides
  for (int i = 0; i < kTries; ++i) {
    const double side = between(static_cast<double>(options_.smallest),
                                static_cast<double>(options_.largest), random);
    const double stretch = std::sqrt(between(1 / kMostStretched, kMostStretched, random));
    const double width = std::round(side * stretch), height = std::round(side / stretch);
    const auto room = static_cast<double>(options_.side);
    const double left = std::floor(between(0, room - width + 1, random));
    const double top = std::floor(between(0, room - height + 1, random));
    const Box box{left, top, left + width, top + height};
    const bool free = std::all_of(objects.begin(), objects.end(), [&](const Object& object) {
      return overlap(object.box, box) == 0;
    });
    if (free) return box;
  }
  return {};
}

void Scenes::paste(const Object& object, std::int64_t image, Image& scene,
                   RandomStream& random) const {
  ByteImage bytes;
  images_->load(image, bytes);
  Image pasted;
  to_float(bytes, pasted);
  const auto top = static_cast<std::int64_t>(object.box.top);
  const auto left = static_cast<std::int64_t>(object.box.left);
  const std::int64_t height = static_cast<std::int64_t>(object.box.bottom) - top;
  const std::int64_t width = static_cast<std::int64_t>(object.box.right) - left;
  Compose(HorizontalFlip(), Resize(height, width)).apply(pasted, random);
  for (std::int64_t y = 0; y < height; ++y) {
    std::copy_n(pasted.at(y, 0), width * kChannels, scene.at(top + y, left));
  }
}

Scene Scenes::draw(std::int64_t index) const {
  RandomStream random(seed_, static_cast<std::uint64_t>(index));
  Scene scene{.image = texture(random), .objects = {}};
  const std::int64_t wanted = 1 + random.below(options_.most_objects);
  for (std::int64_t i = 0; i < wanted; ++i) {
    const Box box = free_place(scene.objects, random);
    if (box.area() == 0) break;
    const std::int64_t image = random.below(images_->size());
    scene.objects.push_back({box, images_->label(image)});
    paste(scene.objects.back(), image, scene.image, random);
  }
  return scene;
}

SceneBatch Scenes::batch(std::int64_t first, std::int64_t count) const {
  SceneBatch batch;
  std::vector<float> pixels;
  for (std::int64_t i = first; i < first + count; ++i) {
    Scene scene = draw(i);
    RandomStream random(seed_);  // not used: normalising is not random
    normalize_.apply(scene.image, random);
    pixels.insert(pixels.end(), scene.image.pixels.begin(), scene.image.pixels.end());
    batch.objects.push_back(std::move(scene.objects));
  }
  batch.images = Tensor::from(pixels, {count, options_.side, options_.side, kChannels});
  return batch;
}

}  // namespace attune::examples
