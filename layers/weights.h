#pragma once

#include <filesystem>
#include <string>

#include "attune/core/safetensors.h"
#include "attune/layers/module.h"

// Weights from PyTorch, and back to it. The names of a module's tensors are PyTorch's already
// (Module::register_conv_bn); what is left are the layout of filters and the habits of those who
// write files.

namespace attune {

/// The content of a file of weights.
struct Weights {
  std::string file;      ///< its path, for messages
  NamedTensors tensors;  ///< in attune's layout, under the names of the file
  SafetensorsMetadata metadata;

  /// Whether it is of a deployed network: blocks are one convolution each, and what undeploy()
  /// needs stands under "conv1.folded_bn.*".
  bool deployed() const;
};

struct LoadOptions {
  /// Refuse unless every tensor finds its place. Otherwise loads what fits.
  bool strict = true;
  /// The classifier may be of another number of classes than the file's: then the module's own is
  /// left alone, and the rest loaded.
  bool replace_head = false;
};

/// Reads a .safetensors file: one that PyTorch users have saved, one of save_weights(), or a
/// checkpoint (core/checkpoint.h), of which it takes the network. Throws Error as
/// read_safetensors() does.
Weights read_weights(const std::filesystem::path& path);

/// Gives `module` the tensors of a file, converting dtypes. Names are taken as they are, or else as
///
///   - they are without "module." in front, if all have it (nn.DataParallel);
///   - the module's last Linear layer, if the file calls it "fc" or "linear";
///   - "downsample", if the file calls a block's shortcut "shortcut".
///
/// "num_batches_tracked" may be missing. Throws Error, and changes nothing, if the file is
/// deployed() and the module is not, or the other way round; and if `strict`, one that
/// says what is missing, unexpected or of another shape.
LoadReport load_weights(Module& module, const Weights& weights, const LoadOptions& options = {});
LoadReport load_weights(Module& module, const std::filesystem::path& path,
                        const LoadOptions& options = {});

struct SaveOptions {
  /// Stored beside the tensors; names that begin with "attune." are this library's own.
  SafetensorsMetadata metadata = {};
  /// What the file calls the last Linear layer, such as "linear"; empty: what the module does.
  std::string head = {};
};

/// Writes a file that PyTorch loads into the network of the same names:
///
///     net.load_state_dict(safetensors.torch.load_file(path), strict=True)
///
/// and does so in one step (write_safetensors). The network may be in any mode. In Deploy, blocks
/// are stored as they are (conv1.weight, conv1.bias), with what undeploy() needs under
/// "conv1.folded_bn.*" and "attune.mode": "deploy" in the metadata; "bn1.*" never occurs, which
/// would be folded twice by whoever does not know.
void save_weights(const Module& module, const std::filesystem::path& path,
                  const SaveOptions& options = {});

}  // namespace attune
