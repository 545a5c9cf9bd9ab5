#include "support/html_report.h"

#include <string>

#include "support/chart.h"
#include "tests/catch.h"
#include "tests/examples/xml_check.h"

using namespace attune::examples;

TEST_CASE("a report is well-formed, stands alone and follows the reader's theme") {
  HtmlReport report("Modes & <more>", "A \"subtitle\"");
  report.add_heading("1 < 2");
  report.add_paragraph("Fish & chips");
  report.add_highlights({{"51 %", "fewer bytes"}});
  report.add_figure("Loss", to_svg(BarChart{"ms", {"a"}, {{"tune", {1}, 0}}, 1, ""}), "Caption");
  report.add_table({"mode", "ms"}, {{"tune", "1.0"}});
  const std::string page = report.str();
  CHECK(attune::test::xml_error(page) == "");
  CHECK(page.rfind("<!DOCTYPE html>", 0) == 0);
  CHECK(page.find("<title>Modes &amp; &lt;more&gt;</title>") != std::string::npos);
  CHECK(page.find("prefers-color-scheme: dark") != std::string::npos);
  CHECK(page.find("<script") == std::string::npos);
  CHECK(page.find("src=") == std::string::npos);
  CHECK(page.find("href=") == std::string::npos);
}
