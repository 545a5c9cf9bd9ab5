#pragma once

#include <memory>
#include <string>
#include <vector>

#include "attune/core/random.h"
#include "attune/layers/models/image_classifier.h"

namespace attune {

/// The network called `name`, as the function of that name makes it: make_model("mobilenet_v2") is
/// mobilenet_v2(). Throws Error, listing the names, for any that is not in model_names().
std::shared_ptr<ImageClassifier> make_model(const std::string& name,
                                            const ModelVariant& variant = {},
                                            Generator& generator = default_generator());

/// The stem that the network has unless a variant says otherwise. Throws Error as make_model().
Stem usual_stem(const std::string& name);

/// All names, family by family.
const std::vector<std::string>& model_names();

}  // namespace attune
