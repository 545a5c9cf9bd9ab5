#pragma once

#include <attune/data/data_loader.h>
#include <attune/data/dataset.h>
#include <attune/data/transforms.h>
#include <attune/layers/models/image_classifier.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "support/command_line.h"

namespace attune::examples {

/// Something to learn: images to train on, images to test on, and how to prepare them.
struct Task {
  std::string name;
  std::shared_ptr<const Dataset> train;
  std::shared_ptr<const Dataset> test;
  Compose train_transform;
  Compose test_transform;
  ChannelStatistics statistics;  ///< by which both transforms normalise
  Stem stem = Stem::cifar;       ///< of networks that learn it
  std::int64_t side = 32;        ///< of the images that the transforms make

  std::int64_t classes() const { return static_cast<std::int64_t>(train->classes().size()); }
};

/// The task that --data names, for training from scratch: synthetic shapes; a directory with
/// CIFAR-10, or else CIFAR-100; or one with train/ and test/ (or val/), each a folder of images a
/// class. Throws Error, saying what was looked for, if there is nothing of this.
Task open_task(const RunOptions& options);

/// A task to pretrain on, and another to fine-tune on.
struct Transfer {
  Task source;
  Task target;
};

/// The pair that --data names: the two domains of the synthetic shapes; CIFAR-100 and then
/// CIFAR-10, from a directory with both; or source/ and target/, each with train/ and test/ as
/// above.
Transfer open_transfer(const RunOptions& options);

/// What a network that has been trained elsewhere is fine-tuned on: the target of --data, or if it
/// is no pair, the task it is.
Task open_target(const RunOptions& options);

/// Images to test a finished network on.
struct TestSet {
  std::string name;
  std::shared_ptr<const Dataset> images;
  ChannelStatistics statistics;  ///< the usual ones
  bool are_pictures = false;     ///< of any size; otherwise the network's
};

/// The test images that --data names, at most `limit` (0: all): as open_task() finds them, or a
/// directory that itself is a folder of images a class. Throws Error if the folders are not
/// `classes`; an empty list takes any.
TestSet open_test_set(const std::string& data, const std::vector<std::string>& classes,
                      std::int64_t limit);

/// Shuffled batches of the training images, all of the same size, in the precision of the run. Made
/// on the device, if --resident says so or, by default, small images are on a GPU.
DataLoader training_batches(const Task& task, const RunOptions& options);
/// All test images in order.
DataLoader test_batches(const Task& task, const RunOptions& options);

}  // namespace attune::examples
