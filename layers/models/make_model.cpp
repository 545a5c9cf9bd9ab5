#include "attune/layers/models/make_model.h"

#include <algorithm>
#include <functional>

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/layers/models/densenet.h"
#include "attune/layers/models/mobilenet.h"
#include "attune/layers/models/repvgg.h"
#include "attune/layers/models/resnet.h"
#include "attune/layers/models/vgg.h"

namespace attune {
namespace {

struct Model {
  std::string name;
  std::function<std::shared_ptr<ImageClassifier>(const ModelVariant&, Generator&)> make;
  Stem stem = Stem::imagenet;
};

Model residual(const std::string& name) {
  const auto make = [name](const ModelVariant& variant, Generator& generator) {
    return make_resnet(
        name,
        {.classes = variant.classes, .stem = variant.stem, .in_channels = variant.in_channels},
        generator);
  };
  return {.name = name, .make = make, .stem = resnet_options(name).stem};
}

const std::vector<Model>& models() {
  static const std::vector<Model> all = [] {
    std::vector<Model> list;
    for (const std::string& name : resnet_names()) list.push_back(residual(name));
    list.insert(list.end(), {
                                {"vgg11_bn", vgg11_bn},
                                {"vgg13_bn", vgg13_bn},
                                {"vgg16_bn", vgg16_bn},
                                {"vgg19_bn", vgg19_bn},
                                {"mobilenet_v2", mobilenet_v2},
                                {"repvgg_a0", repvgg_a0},
                                {"repvgg_a1", repvgg_a1},
                                {"repvgg_a2", repvgg_a2},
                                {"repvgg_b0", repvgg_b0},
                                {"repvgg_b1", repvgg_b1},
                                {"densenet121", densenet121},
                                {"densenet169", densenet169},
                                {"densenet201", densenet201},
                                {"densenet_bc100", densenet_bc100, Stem::cifar},
                            });
    return list;
  }();
  return all;
}

const Model& find_model(const std::string& name) {
  const auto model = std::find_if(models().begin(), models().end(),
                                  [&](const Model& candidate) { return candidate.name == name; });
  if (model == models().end()) {
    throw Error(
        format_text("make_model: '{}' is not one of {}", name, join_text(model_names(), ", ")));
  }
  return *model;
}

}  // namespace

std::shared_ptr<ImageClassifier> make_model(const std::string& name, const ModelVariant& variant,
                                            Generator& generator) {
  return find_model(name).make(variant, generator);
}

Stem usual_stem(const std::string& name) { return find_model(name).stem; }

const std::vector<std::string>& model_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Model& model : models()) all.push_back(model.name);
    return all;
  }();
  return names;
}

}  // namespace attune
