#include "attune/core/atomic_file.h"

#include <signal.h>  // NOLINT(modernize-deprecated-headers): kill() is not in <csignal>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <string>

#include "attune/core/error.h"
#include "tests/catch.h"
#include "tests/data/temporary_directory.h"
#include "tests/test_util.h"

namespace fs = std::filesystem;
using namespace attune;
using namespace attune::test;

namespace {

std::string content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::ptrdiff_t files_in(const fs::path& directory) {
  return std::distance(fs::directory_iterator(directory), {});
}

void replace(const fs::path& path, const std::string& text) {
  AtomicFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

}  // namespace

TEST_CASE("an atomic file appears as a whole") {
  const TemporaryDirectory directory;
  const fs::path path = directory.path() / "file";
  replace(path, "first");
  {
    AtomicFile file(path);
    file.write("sec", 3);
    CHECK(content(path) == "first");
    file.write("ond", 3);
    CHECK(content(path) == "first");
    file.commit();
    CHECK(content(path) == "second");
  }
  CHECK(content(path) == "second");
  CHECK(files_in(directory.path()) == 1);
}

TEST_CASE("an atomic file that is given up leaves nothing") {
  const TemporaryDirectory directory;
  const fs::path path = directory.path() / "file";
  replace(path, "old");
  {
    AtomicFile file(path);
    file.write("new", 3);
    CHECK(files_in(directory.path()) == 2);
  }
  CHECK(content(path) == "old");
  CHECK(files_in(directory.path()) == 1);
}

TEST_CASE("an atomic file replaces what a link leads to, and nothing but files") {
  const TemporaryDirectory directory;
  const fs::path target = directory.path() / "below" / "target", link = directory.path() / "link";
  write_file(target, "old");
  fs::create_symlink("below/target", link);
  replace(link, "new");
  CHECK(fs::is_symlink(link));
  CHECK(content(target) == "new");
  const auto error = [](const fs::path& path) {
    return message_of<Error>([&] { replace(path, "x"); });
  };
  CHECK(error(directory.path()) ==
        "cannot write " + directory.path().string() + ": Is a directory");
  CHECK(error("/dev/null") == "cannot write /dev/null: it is not a regular file");
  CHECK(error(directory.path() / "none" / "file") ==
        "cannot write " + directory.file("none/file") + ": No such file or directory");
}

TEST_CASE("the next writer removes what a killed one left") {
  const TemporaryDirectory directory;
  const fs::path path = directory.path() / "file";
  replace(path, "old");
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    AtomicFile file(path);
    file.write("half", 4);
    raise(SIGKILL);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  CHECK(content(path) == "old");
  REQUIRE(files_in(directory.path()) == 2);
  // Files of others stay: another name, a living process, something else altogether.
  write_file(directory.path() / ("other." + std::to_string(child) + ".tmp"), "");
  write_file(directory.path() / ("file." + std::to_string(getppid()) + ".tmp"), "");
  write_file(directory.path() / "file.12x.tmp", "");
  write_file(directory.path() / "file.tmp", "");
  replace(path, "new");
  CHECK(content(path) == "new");
  CHECK(files_in(directory.path()) == 5);
}
