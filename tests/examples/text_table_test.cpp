#include "support/text_table.h"

#include <cmath>
#include <limits>

#include "tests/catch.h"

using namespace attune::examples;

TEST_CASE("a table is aligned") {
  CHECK(text_table({"mode", "ms"}, {{"tune", "1.0"}, {"deploy", "12.5"}}) ==
        "mode      ms\n"
        "------------\n"
        "tune     1.0\n"
        "deploy  12.5\n");
}

TEST_CASE("quantities have a fixed form") {
  CHECK(mebibytes(96507908) == "92.0");
  CHECK(percent(0.8734) == "87.3 %");
  CHECK(percent(std::numeric_limits<double>::quiet_NaN()) == "-");
}

TEST_CASE("losses stay short") {
  CHECK(loss_text(2.30259) == "2.3026");
  CHECK(loss_text(6.43e37) == "6.43e+37");
  CHECK(loss_text(-std::numeric_limits<double>::quiet_NaN()) == "nan");
  CHECK(loss_text(std::numeric_limits<double>::infinity()) == "inf");
}

TEST_CASE("the median is the middle value") {
  CHECK(median({3, 1, 2}) == 2);
  CHECK(median({4, 1, 2, 3}) == 2.5);
  CHECK(std::isnan(median({})));
}
