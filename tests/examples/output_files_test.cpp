#include "support/output_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "attune/core/error.h"
#include "tests/catch.h"
#include "tests/test_util.h"

using namespace attune;
using namespace attune::examples;
namespace fs = std::filesystem;

namespace {

/// A directory that goes with the test.
class TemporaryDirectory {
 public:
  TemporaryDirectory()
      : path_(fs::temp_directory_path() / ("attune_output_" + std::to_string(getpid()))) {
    fs::create_directories(path_);
  }
  ~TemporaryDirectory() { fs::remove_all(path_); }
  fs::path operator/(const std::string& name) const { return path_ / name; }
  std::ptrdiff_t files() const {
    return std::distance(fs::directory_iterator(path_), fs::directory_iterator());
  }

 private:
  fs::path path_;
};

std::string content(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST_CASE("a file is replaced as a whole") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "deeper/summary.json";
  write_file(path, "old");
  write_file(path, "new");
  CHECK(content(path) == "new");
  CHECK(directory.files() == 1);
  CHECK(std::distance(fs::directory_iterator(path.parent_path()), {}) == 1);
}

TEST_CASE("a path that cannot be written is reported, with its name") {
  const TemporaryDirectory directory;
  write_file(directory / "file", "text");
  for (const fs::path& path : {directory / "file/below", directory / ""}) {
    INFO(path);
    const std::string message = test::message_of<Error>([&] { check_writable(path); });
    CHECK(message.find(path.parent_path().string()) != std::string::npos);
    CHECK_THROWS_AS(write_file(path, "text"), Error);
    CHECK_THROWS_AS(CsvFile(path, {"step"}), Error);
  }
  CHECK(content(directory / "file") == "text");
  CHECK(directory.files() == 1);
}

TEST_CASE("documents are UTF-8, whatever text is put into them") {
  const TemporaryDirectory directory;
  const nlohmann::json document{{"path", "caf\xe9"}};
  CHECK(json_line(document) == "{\"path\":\"caf\uFFFD\"}");
  write_json(directory / "d.json", document);
  CHECK(content(directory / "d.json") == "{\n  \"path\": \"caf\uFFFD\"\n}\n");
}

TEST_CASE("asking whether a path is writable leaves what is there") {
  const TemporaryDirectory directory;
  check_writable(directory / "a");
  CHECK(directory.files() == 0);
  write_file(directory / "a", "text");
  check_writable(directory / "a");
  CHECK(content(directory / "a") == "text");
}

TEST_CASE("a pipe or a link is written to, not replaced") {
  const TemporaryDirectory directory;
  const fs::path target = directory / "target", link = directory / "link";
  write_file(target, "old");
  fs::create_symlink(target, link);
  check_writable(link);
  write_file(link, "new");
  CHECK(fs::is_symlink(link));
  CHECK(content(target) == "new");
  CHECK(directory.files() == 2);

  const fs::path pipe = directory / "pipe";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  check_writable(pipe);  // without waiting for a reader
  const int reader = open(pipe.c_str(), O_RDWR | O_NONBLOCK);
  REQUIRE(reader >= 0);
  write_file(pipe, "text");
  CHECK(fs::is_fifo(pipe));
  std::string received(10, '\0');
  CHECK(read(reader, received.data(), received.size()) == 4);
  CHECK(received.substr(0, 4) == "text");
  close(reader);
}

TEST_CASE("rows are on disk as soon as they are written") {
  const TemporaryDirectory directory;
  CsvFile csv(directory / "metrics.csv", {"step", "loss"});
  csv.row({"0", "2.5"});
  CHECK(content(directory / "metrics.csv") == "step,loss\n0,2.5\n");
  csv.row({"1", "2.25"});
  CHECK(content(directory / "metrics.csv") == "step,loss\n0,2.5\n1,2.25\n");
  CHECK_THROWS_AS(csv.row({"2"}), Error);
  CHECK(directory.files() == 1);
}

TEST_CASE("a run without rows leaves an earlier run's file alone") {
  const TemporaryDirectory directory;
  write_file(directory / "metrics.csv", "earlier");
  { CsvFile csv(directory / "metrics.csv", {"step"}); }
  CHECK(content(directory / "metrics.csv") == "earlier");
  CHECK(directory.files() == 1);
}
