#include "support/progress.h"

#include <sstream>
#include <string>

#include "tests/catch.h"

using namespace attune::examples;

TEST_CASE("durations are written as clocks show them") {
  CHECK(duration_text(0) == "0:00");
  CHECK(duration_text(7.4) == "0:07");
  CHECK(duration_text(59.9) == "1:00");
  CHECK(duration_text(754) == "12:34");
  CHECK(duration_text(3723) == "1:02:03");
}

TEST_CASE("without a terminal progress is plain lines") {
  std::ostringstream out;
  {
    Progress progress("epoch 1/2", 10, "images", out, false, true);
    progress.advance(5, "loss 1.5");  // too soon for a line
    CHECK(out.str().empty());
    progress.advance(5, "loss 1.25");
    progress.finish();
    progress.finish();
  }
  const std::string text = out.str();
  CHECK(text.find("epoch 1/2 100 %") == 0);
  CHECK(text.find("images/s") != std::string::npos);
  CHECK(text.find("loss 1.25\n") != std::string::npos);
  CHECK(text.find('\r') == std::string::npos);
  CHECK(text.find('\033') == std::string::npos);
  CHECK(text.find('\n') == text.size() - 1);
}

TEST_CASE("on a terminal progress is a bar, coloured or not") {
  for (const bool color : {false, true}) {
    std::ostringstream out;
    {
      Progress progress("epoch", 10, "images", out, true, color);
      progress.advance(5);
      progress.finish();
    }
    const std::string text = out.str();
    CHECK(text.find('\r') == 0);
    CHECK(text.find("50 %") != std::string::npos);
    CHECK(text.find("left") != std::string::npos);
    CHECK((text.find("\033[32m") != std::string::npos) == color);
    CHECK(text.back() == '\n');
  }
}

TEST_CASE("a bar never fills the terminal's last column") {
  for (const std::size_t width : {10, 40, 60, 200}) {
    std::ostringstream out;
    {
      Progress progress("epoch", 10, "images", out, true, false, width);
      progress.advance(5, std::string(100, 'x'));
      progress.finish();
    }
    const std::string text = out.str();
    const std::string line = text.substr(1, text.find("\033[K") - 1);
    CHECK((line.size() < width || line.size() == std::string("epoch []").size() + 24));
  }
}

TEST_CASE("progress that is off says nothing") {
  Progress progress("epoch", 10, "images", ProgressStyle::off);
  progress.advance(10);
  progress.finish();
}
