#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "attune/layers/module.h"

namespace attune {

struct OnnxOptions {
  /// Stored in the model ("metadata_props"); of use to whoever runs it.
  std::map<std::string, std::string> metadata = {};
};

/// Writes what a deployed network does in inference as a model that ONNX runtimes run (onnx.ai; IR
/// version 8, operators of version 13), in one step, as write_safetensors() does.
///
/// `input` is the shape of one image, [1, H, W, C]. The model takes batches of any size in
/// PyTorch's layout: its input is "images" [batch, C, H, W], and its output "logits". Weights have
/// the names and layout that save_weights() gives them, and the network's dtype.
///
/// The network is run once on Device::meta, without arithmetic, and what TraceScope sees is
/// translated; the network is left as it was. Throws Error, naming the layer, if a ConvBN is not
/// deployed or if there is an operation that has no translation, and if the file cannot be written
/// or would have the 2 GiB that the format cannot hold.
void write_onnx(Module& module, const Shape& input, const std::filesystem::path& path,
                const OnnxOptions& options = {});

}  // namespace attune
