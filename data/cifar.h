#pragma once

#include <filesystem>

#include "attune/data/dataset.h"

namespace attune {

/// CIFAR-10 (A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009): 32x32
/// colour images of 10 classes, 50,000 for training and 10,000 for testing, read from the official
/// binary files data_batch_1.bin ... data_batch_5.bin or test_batch.bin, and batches.meta.txt.
class Cifar10 : public InMemoryDataset {
 public:
  /// `directory` holds the files, or a folder cifar-10-batches-bin that does. Throws Error naming
  /// the file that is missing (and how to download it), has the wrong size, or holds a label that
  /// is no class (with its byte offset).
  Cifar10(const std::filesystem::path& directory, Split split);
};

/// CIFAR-100: the same with 100 classes. The labels are the fine ones. Files: train.bin or
/// test.bin, and fine_label_names.txt, in `directory` or its folder cifar-100-binary.
class Cifar100 : public InMemoryDataset {
 public:
  Cifar100(const std::filesystem::path& directory, Split split);
};

}  // namespace attune
