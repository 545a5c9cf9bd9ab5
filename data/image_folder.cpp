#include "attune/data/image_folder.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

#include "attune/core/error.h"
#include "attune/core/format_text.h"

namespace attune {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 7> kExtensions{".png", ".jpg", ".jpeg", ".bmp",
                                                      ".gif", ".ppm", ".pgm"};

bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

bool is_image_name(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::find(kExtensions.begin(), kExtensions.end(), extension) != kExtensions.end();
}

std::vector<std::string> class_folders(const fs::path& directory) {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    if (entry.is_directory() && !is_hidden(entry.path())) {
      names.push_back(entry.path().filename().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> image_files(const fs::path& folder) {
  std::vector<std::string> paths;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    // Not only regular files: a link to nowhere is an error when it is loaded, not a missing image.
    if (!entry.is_directory() && !is_hidden(entry.path()) && is_image_name(entry.path())) {
      paths.push_back(entry.path().string());
    }
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace

ImageFolder::ImageFolder(const fs::path& directory,
                         const std::vector<std::string>& expected_classes,
                         const ImageFileLimits& limits)
    : limits_(limits) {
  try {
    scan(directory, expected_classes);
  } catch (const fs::filesystem_error& error) {  // a directory that may not be read
    throw Error(format_text("image folder: {}", error.what()));
  }
}

void ImageFolder::scan(const fs::path& directory,
                       const std::vector<std::string>& expected_classes) {
  if (!fs::is_directory(directory)) {
    throw Error(format_text("image folder: {} is not a directory", directory.string()));
  }
  classes_ = class_folders(directory);
  if (classes_.empty()) {
    throw Error(
        format_text("image folder: {} has no folders; each class needs one", directory.string()));
  }
  if (!expected_classes.empty() && classes_ != expected_classes) {
    throw Error(format_text("image folder: {} has the classes [{}], expected [{}]",
                            directory.string(), join_text(classes_, ", "),
                            join_text(expected_classes, ", ")));
  }
  for (std::size_t label = 0; label < classes_.size(); ++label) {
    const fs::path folder = directory / classes_[label];
    const std::vector<std::string> paths = image_files(folder);
    if (paths.empty()) {
      throw Error(format_text("image folder: no image in {} (looked for {})", folder.string(),
                              join_text(kExtensions, " ")));
    }
    for (const std::string& path : paths) {
      files_.push_back({path, static_cast<std::int64_t>(label)});
    }
  }
}

const ImageFolder::File& ImageFolder::file(std::int64_t index) const {
  check_index(index);
  return files_[static_cast<std::size_t>(index)];
}

std::string ImageFolder::sample_name(std::int64_t index) const { return file(index).path; }

std::int64_t ImageFolder::label(std::int64_t index) const { return file(index).label; }

void ImageFolder::load(std::int64_t index, ByteImage& image) const {
  image = read_image(file(index).path, limits_);
}

}  // namespace attune
