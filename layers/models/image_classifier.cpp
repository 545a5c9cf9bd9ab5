#include "attune/layers/models/image_classifier.h"

namespace attune {

void ImageClassifier::register_head(const std::string& name, std::int64_t features,
                                    std::int64_t classes, Generator& generator) {
  const Linear::Options options{.in_features = features, .out_features = classes};
  head_ = register_module(name, std::make_shared<Linear>(options, generator));
  head_name_ = name;
}

void ImageClassifier::replace_head(std::int64_t classes, Generator& generator) {
  const Tensor old = head_->weight();
  auto head = std::make_shared<Linear>(
      Linear::Options{.in_features = old.size(1), .out_features = classes}, generator);
  head->to(old.dtype());
  head->to(old.device());
  for (Tensor& parameter : head_->parameters()) parameter.retire();
  unregister_module(head_name_);
  head_ = register_module(head_name_, head);
}

}  // namespace attune
