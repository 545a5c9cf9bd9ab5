#include "attune/data/synthetic_shapes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/random.h"
#include "attune/data/shape_distance.h"
#include "attune/data/shuffle.h"

namespace attune {
namespace {

constexpr int kSide = 32;
constexpr ImageSize kImageSize{kSide, kSide, 3};
constexpr float kTwoPi = 2 * std::numbers::pi_v<float>;

using Rgb = std::array<float, 3>;
using Canvas = std::array<Rgb, kSide * kSide>;

struct Range {
  float low;
  float high;

  float draw(RandomStream& random) const {
    return low + (high - low) * static_cast<float>(random.uniform());
  }
};

/// What sets a domain apart: from which ranges the looks of an image are drawn. Colours and
/// amplitudes are on a scale from 0 to 1.
struct Style {
  Range ground_saturation;
  Range ground_value;
  Range shape_saturation;
  Range shape_value;
  Range cloud_amplitude;   // of the background's smooth variation
  Range ripple_amplitude;  // of a fine wave over the background
  Range blur;              // what each neighbour in a row or column contributes
  Range contrast;
  Range noise;  // standard deviation, for each pixel and channel
  Rgb tint;     // factor for each channel
};

constexpr Style kSource{.ground_saturation = {0, 0.6f},
                        .ground_value = {0.05f, 0.5f},
                        .shape_saturation = {0.2f, 1},
                        .shape_value = {0.45f, 1},
                        .cloud_amplitude = {0, 0.3f},
                        .ripple_amplitude = {0, 0},
                        .blur = {0, 0.1f},
                        .contrast = {0.7f, 1},
                        .noise = {0.01f, 0.06f},
                        .tint = {1, 1, 1}};

// The shapes stay brighter than their ground: a network that knows the source recognises about half
// of them, and fine-tuning has something to start from.
constexpr Style kTarget{.ground_saturation = {0, 0.4f},
                        .ground_value = {0.2f, 0.6f},
                        .shape_saturation = {0.1f, 0.7f},
                        .shape_value = {0.5f, 1},
                        .cloud_amplitude = {0, 0.2f},
                        .ripple_amplitude = {0, 0.08f},
                        .blur = {0, 0.1f},
                        .contrast = {0.5f, 0.8f},
                        .noise = {0.01f, 0.05f},
                        .tint = {1.25f, 1, 0.45f}};

// ---- Colours ----

float luminance(const Rgb& colour) {
  return 0.299f * colour[0] + 0.587f * colour[1] + 0.114f * colour[2];  // ITU-R BT.601
}

// From hue, saturation and value, hue from 0 to 1 (A. R. Smith, "Color gamut transform pairs",
// 1978).
Rgb from_hsv(float hue, float saturation, float value) {
  Rgb colour{};
  constexpr Rgb kPhase{5, 3, 1};
  for (std::size_t c = 0; c < colour.size(); ++c) {
    const float k = std::fmod(kPhase[c] + 6 * hue, 6.0f);
    colour[c] = value * (1 - saturation * std::clamp(std::min(k, 4 - k), 0.0f, 1.0f));
  }
  return colour;
}

Rgb draw_colour(const Range& saturation, const Range& value, RandomStream& random) {
  const float hue = Range{0, 1}.draw(random);
  const float chosen_saturation = saturation.draw(random);
  return from_hsv(hue, chosen_saturation, value.draw(random));
}

// A colour that stands out from the ground.
Rgb draw_shape_colour(const Style& style, const Rgb& ground, RandomStream& random) {
  constexpr float kLeastDifference = 0.2f;
  constexpr int kAttempts = 8;
  Rgb colour{};
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    colour = draw_colour(style.shape_saturation, style.shape_value, random);
    if (std::abs(luminance(colour) - luminance(ground)) >= kLeastDifference) break;
  }
  return colour;
}

// ---- Painting ----

Rgb& pixel(Canvas& canvas, int y, int x) {
  return canvas[static_cast<std::size_t>(y) * kSide + static_cast<std::size_t>(x)];
}

// The ground, with a cloud: random values on a coarse grid, interpolated in between.
void paint_ground(Canvas& canvas, const Style& style, const Rgb& ground, RandomStream& random) {
  constexpr int kCell = 8;  // pixels
  constexpr int kGrid = kSide / kCell + 1;
  const float cloud = style.cloud_amplitude.draw(random);
  std::array<std::array<float, kGrid>, kGrid> grid{};
  for (auto& row : grid) {
    for (float& value : row) value = Range{-cloud, cloud}.draw(random);
  }
  const float ripple = style.ripple_amplitude.draw(random);
  const float direction = Range{0, kTwoPi}.draw(random);
  const float frequency = kTwoPi / Range{3, 7}.draw(random);
  const float wave_x = frequency * std::cos(direction);
  const float wave_y = frequency * std::sin(direction);

  for (int y = 0; y < kSide; ++y) {
    for (int x = 0; x < kSide; ++x) {
      const auto row = static_cast<std::size_t>(y / kCell);
      const auto column = static_cast<std::size_t>(x / kCell);
      const float v = static_cast<float>(y % kCell) / kCell;
      const float u = static_cast<float>(x % kCell) / kCell;
      const float top = std::lerp(grid[row][column], grid[row][column + 1], u);
      const float bottom = std::lerp(grid[row + 1][column], grid[row + 1][column + 1], u);
      float shade = std::lerp(top, bottom, v);
      if (ripple > 0) {
        const float phase = wave_x * static_cast<float>(x) + wave_y * static_cast<float>(y);
        shade += ripple * std::sin(phase);
      }
      for (std::size_t c = 0; c < ground.size(); ++c) pixel(canvas, y, x)[c] = ground[c] + shade;
    }
  }
}

// Paints where `distance`, in pixels and negative inside, says so; the edge is as wide as a pixel,
// which is what hides the steps. Nothing is painted further than `reach` from the centre.
template <typename Distance>
void paint(Canvas& canvas, const Rgb& colour, const Point& centre, float reach,
           Distance&& distance) {
  const auto column = [](float x) { return std::clamp(static_cast<int>(x), 0, kSide); };
  for (int y = column(centre.y - reach); y < column(centre.y + reach + 1); ++y) {
    for (int x = column(centre.x - reach); x < column(centre.x + reach + 1); ++x) {
      const Point here{static_cast<float>(x) + 0.5f, static_cast<float>(y) + 0.5f};
      const float coverage = std::clamp(0.5f - distance(here), 0.0f, 1.0f);
      Rgb& target = pixel(canvas, y, x);
      for (std::size_t c = 0; c < colour.size(); ++c) {
        target[c] += coverage * (colour[c] - target[c]);
      }
    }
  }
}

void paint_strokes(Canvas& canvas, std::int64_t count, const Style& style, const Rgb& ground,
                   RandomStream& random) {
  constexpr Range kAnywhere{0, kSide};
  for (std::int64_t i = 0; i < count; ++i) {
    const Rgb colour = draw_shape_colour(style, ground, random);
    const Point centre{kAnywhere.draw(random), kAnywhere.draw(random)};
    const float half_length = Range{1, 7}.draw(random);
    const float half_width = Range{0.5f, 1.2f}.draw(random);
    const float angle = Range{0, kTwoPi}.draw(random);
    const Point arm{half_length * std::cos(angle), half_length * std::sin(angle)};
    const Point begin{centre.x - arm.x, centre.y - arm.y};
    const Point end{centre.x + arm.x, centre.y + arm.y};
    paint(canvas, colour, centre, half_length + half_width + 1,
          [&](const Point& p) { return segment_distance(p, begin, end) - half_width; });
  }
}

void paint_shape(Canvas& canvas, ShapeClass shape, const Rgb& colour, RandomStream& random) {
  const float radius = Range{5, 12}.draw(random);
  const Range place{0.8f * radius, kSide - 0.8f * radius};
  const Point centre{place.draw(random), place.draw(random)};
  const float angle = Range{0, kTwoPi}.draw(random);
  const float stretch = Range{0.75f, 1}.draw(random);
  const float pitch = Range{0.9f, 1.4f}.draw(random);  // of stripes and checks
  const float cosine = std::cos(angle) / radius;
  const float sine = std::sin(angle) / radius;
  paint(canvas, colour, centre, 1.2f * radius + 1, [&](const Point& p) {
    const float dx = p.x - centre.x;
    const float dy = p.y - centre.y;
    const Point local{(cosine * dx + sine * dy) / stretch, cosine * dy - sine * dx};
    return radius * stretch * shape_distance(shape, local, pitch);
  });
}

// ---- The camera ----

// Averages each pixel with its neighbours in the row, then in the column.
void blur(Canvas& canvas, float weight) {
  for (const bool along_row : {true, false}) {
    const Canvas before = canvas;
    const auto source = [&](int line, int i) -> const Rgb& {
      const int inside = std::clamp(i, 0, kSide - 1);
      const int index = along_row ? line * kSide + inside : inside * kSide + line;
      return before[static_cast<std::size_t>(index)];
    };
    for (int line = 0; line < kSide; ++line) {
      for (int i = 0; i < kSide; ++i) {
        Rgb& target = along_row ? pixel(canvas, line, i) : pixel(canvas, i, line);
        for (std::size_t c = 0; c < target.size(); ++c) {
          target[c] = (1 - 2 * weight) * source(line, i)[c] +
                      weight * (source(line, i - 1)[c] + source(line, i + 1)[c]);
        }
      }
    }
  }
}

// The four bytes of one random word added up: near enough to a normal variable, at a twentieth of
// the time.
float cheap_normal(RandomStream& random) {
  const std::uint32_t word = random.next();
  const std::uint32_t sum = (word & 0xff) + (word >> 8 & 0xff) + (word >> 16 & 0xff) + (word >> 24);
  constexpr float kMean = 4 * 127.5f;
  constexpr float kDeviation = 147.8f;  // sqrt(4 (256^2 - 1) / 12)
  return (static_cast<float>(sum) - kMean) / kDeviation;
}

void expose(const Canvas& canvas, const Style& style, RandomStream& random, std::uint8_t* pixels) {
  const float contrast = style.contrast.draw(random);
  const float noise = style.noise.draw(random);
  for (const Rgb& colour : canvas) {
    for (std::size_t c = 0; c < colour.size(); ++c) {
      const float toned = style.tint[c] * (0.5f + contrast * (colour[c] - 0.5f));
      const float value = 255 * (toned + noise * cheap_normal(random));
      *pixels++ = static_cast<std::uint8_t>(std::clamp(value + 0.5f, 0.0f, 255.0f));
    }
  }
}

void draw_image(const Style& style, ShapeClass shape, RandomStream random, std::uint8_t* pixels) {
  Canvas canvas;
  const Rgb ground = draw_colour(style.ground_saturation, style.ground_value, random);
  paint_ground(canvas, style, ground, random);
  const std::int64_t strokes_behind = random.below(4);
  const std::int64_t strokes_in_front = random.below(2);
  paint_strokes(canvas, strokes_behind, style, ground, random);
  paint_shape(canvas, shape, draw_shape_colour(style, ground, random), random);
  paint_strokes(canvas, strokes_in_front, style, ground, random);
  blur(canvas, style.blur.draw(random));
  expose(canvas, style, random, pixels);
}

InMemoryDataset draw_dataset(Domain domain, Split split, std::int64_t count, std::uint64_t seed) {
  const std::string name =
      format_text("SyntheticShapes {} {}", to_string(domain), to_string(split));
  if (count < 0) throw Error(format_text("{}: {} images asked for", name, count));
  const bool is_source = domain == Domain::source;
  const Style& style = is_source ? kSource : kTarget;
  const std::uint64_t image_seed =
      derive_seed(seed, is_source ? RandomUse::source_domain : RandomUse::target_domain,
                  static_cast<std::uint64_t>(split));
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(count * kImageSize.count()));
  std::vector<std::int64_t> labels(static_cast<std::size_t>(count));
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t label = i % kShapeClasses;
    labels[static_cast<std::size_t>(i)] = label;
    draw_image(style, static_cast<ShapeClass>(label),
               RandomStream(image_seed, static_cast<std::uint64_t>(i)),
               pixels.data() + i * kImageSize.count());
  }
  return {name, shape_class_names(), kImageSize, std::move(pixels), std::move(labels)};
}

}  // namespace

const char* to_string(Domain domain) { return domain == Domain::source ? "source" : "target"; }

SyntheticShapes::SyntheticShapes(Domain domain, Split split, std::int64_t count, std::uint64_t seed)
    : InMemoryDataset(draw_dataset(domain, split, count, seed)) {}

}  // namespace attune
