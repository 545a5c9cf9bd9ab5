#include "support/html_report.h"

#include <fmt/format.h>

#include <cstddef>

#include "support/chart.h"

namespace attune::examples {
namespace {

// The colours are Okabe and Ito's ("Color universal design", 2008), which most colour-blind readers
// can tell apart, adapted to each background.
constexpr const char* kPalette = R"(
:root {
  color-scheme: light dark;
  --page: #ffffff; --card: #f7f8fa; --text: #1b1f24; --muted: #5b6570; --rule: #dfe3e8;
  --axis: #8a949e; --c0: #d55e00; --c1: #56a4dd; --c2: #0b4f8a; --c3: #009e73; --c4: #b8549b;
  --c5: #b58900;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --card: #1c2026; --text: #e6e9ed; --muted: #9aa5b1; --rule: #2c323a;
    --axis: #6b7682; --c0: #f28b45; --c1: #3f7fb5; --c2: #a5d4f7; --c3: #2ebd94; --c4: #d88bc0;
    --c5: #dcb545;
  }
}
)";

constexpr const char* kPageStyle = R"(
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 52rem; background: var(--page);
  color: var(--text); font: 16px/1.6 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif;
}
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; letter-spacing: -0.01em; }
h2 { font-size: 1.25rem; margin: 2.75rem 0 0.5rem; }
p { margin: 0.6rem 0; }
.subtitle { color: var(--muted); margin: 0.4rem 0 1.5rem; }
.highlights { display: flex; flex-wrap: wrap; gap: 0.75rem; margin: 1.5rem 0; }
.highlight { flex: 1 1 10rem; padding: 0.9rem 1.1rem; background: var(--card);
  border: 1px solid var(--rule); border-radius: 10px; }
.number { display: block; font-size: 1.7rem; font-weight: 650; line-height: 1.3;
  font-variant-numeric: tabular-nums; }
.meaning { display: block; color: var(--muted); font-size: 0.875rem; line-height: 1.4; }
figure { margin: 1.25rem 0; padding: 1.1rem 1.25rem; background: var(--card);
  border: 1px solid var(--rule); border-radius: 10px; }
figure h3 { margin: 0 0 0.75rem; font-size: 1rem; font-weight: 600; }
figcaption { color: var(--muted); font-size: 0.9rem; margin-top: 0.5rem; }
.scroll { overflow-x: auto; }
.scroll .chart { min-width: 28rem; } /* on a telephone its letters would be too small to read */
table { border-collapse: collapse; width: 100%; font-size: 0.925rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: 0.45rem 0.7rem; text-align: right; border-bottom: 1px solid var(--rule); }
th { font-weight: 600; color: var(--muted); font-size: 0.825rem; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td:first-child { font-weight: 600; white-space: nowrap; }
.check { margin: 0.3rem 0; padding-left: 1.6rem; text-indent: -1.6rem; }
.check b { display: inline-block; width: 1.6rem; text-indent: 0; color: var(--c3); }
.check.fails b { color: var(--c0); }
)";

constexpr const char* kChartStyle = R"(
.chart { display: block; width: 100%; height: auto; font-family: inherit; overflow: visible; }
.chart text { fill: var(--text); font-size: 13px; }
.chart .tick, .chart .axis-title { fill: var(--muted); font-size: 12.5px;
  font-variant-numeric: tabular-nums; }
.chart .value { font-size: 12.5px; font-weight: 600; font-variant-numeric: tabular-nums; }
.chart .start { text-anchor: start; } .chart .middle { text-anchor: middle; }
.chart .end { text-anchor: end; }
.chart .grid { stroke: var(--rule); } .chart .axis { stroke: var(--axis); }
.chart .line { fill: none; stroke-linejoin: round; stroke-linecap: round; }
.chart .hover { fill: var(--card); stroke-width: 2; opacity: 0; }
.chart .hover:hover { opacity: 1; } .chart .bar:hover, .chart .dot:hover { opacity: 0.8; }
)";

/// All that a chart needs.
std::string chart_style() {
  std::string style = std::string(kPalette) + kChartStyle;
  for (int i = 0; i < kSeriesColors; ++i) {
    style += fmt::format(
        ".line.s{0}, .hover.s{0} {{ stroke: var(--c{0}); }} .bar.s{0}, .dot.s{0} {{ fill: "
        "var(--c{0}); }}\n",
        i);
  }
  return style;
}

}  // namespace

HtmlReport::HtmlReport(std::string title, std::string subtitle)
    : title_(std::move(title)), subtitle_(std::move(subtitle)) {}

void HtmlReport::add_heading(const std::string& text) {
  body_ += fmt::format("<h2>{}</h2>\n", escape_xml(text));
}

void HtmlReport::add_paragraph(const std::string& text) {
  body_ += fmt::format("<p>{}</p>\n", escape_xml(text));
}

void HtmlReport::add_highlights(const std::vector<Highlight>& highlights) {
  body_ += "<div class=\"highlights\">\n";
  for (const auto& [number, meaning] : highlights) {
    body_ += fmt::format(
        "<div class=\"highlight\"><span class=\"number\">{}</span>"
        "<span class=\"meaning\">{}</span></div>\n",
        escape_xml(number), escape_xml(meaning));
  }
  body_ += "</div>\n";
}

void HtmlReport::add_check(const std::string& statement, bool holds) {
  body_ += fmt::format("<p class=\"check{}\"><b>{}</b>{}</p>\n", holds ? "" : " fails",
                       holds ? "\u2713" : "\u2717", escape_xml(statement));
}

void HtmlReport::add_figure(const std::string& title, const std::string& svg,
                            const std::string& caption) {
  body_ += fmt::format(
      "<figure>\n<h3>{}</h3>\n<div class=\"scroll\">{}</div>\n<figcaption>{}</figcaption>\n"
      "</figure>\n",
      escape_xml(title), svg, escape_xml(caption));
}

void HtmlReport::add_table(const std::vector<std::string>& header,
                           const std::vector<std::vector<std::string>>& rows) {
  body_ += "<div class=\"scroll\"><table>\n<thead><tr>";
  for (const std::string& cell : header) body_ += fmt::format("<th>{}</th>", escape_xml(cell));
  body_ += "</tr></thead>\n<tbody>\n";
  for (const std::vector<std::string>& row : rows) {
    body_ += "<tr>";
    for (const std::string& cell : row) body_ += fmt::format("<td>{}</td>", escape_xml(cell));
    body_ += "</tr>\n";
  }
  body_ += "</tbody>\n</table></div>\n";
}

std::string HtmlReport::str() const {
  return fmt::format(
      "<!DOCTYPE html>\n"
      "<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n"
      "<meta charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
      "<title>{0}</title>\n<style>{1}{2}</style>\n</head>\n<body>\n"
      "<h1>{0}</h1>\n<p class=\"subtitle\">{3}</p>\n{4}</body>\n</html>\n",
      escape_xml(title_), chart_style(), kPageStyle, escape_xml(subtitle_), body_);
}

std::string standalone_svg(const std::string& svg) {
  const std::size_t end_of_tag = svg.find('>');
  std::string alone = svg;
  alone.insert(end_of_tag + 1, fmt::format("\n<style>{}.chart {{ font-family: system-ui, "
                                           "sans-serif; background: var(--page); }}</style>",
                                           chart_style()));
  return alone;
}

}  // namespace attune::examples
