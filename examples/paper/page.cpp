#include "paper/page.h"

#include <attune/core/error.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <iterator>

#include "support/html_report.h"
#include "support/output_files.h"
#include "support/text_table.h"

namespace attune::examples {
namespace {

namespace fs = std::filesystem;

std::string csv_cell(const Row& value) {
  if (value.is_null()) return "";
  if (value.is_string()) {
    const auto text = value.get<std::string>();
    return text.find(',') == std::string::npos ? text : '"' + text + '"';
  }
  if (!value.is_array()) return value.dump();
  std::string text;
  for (const Row& element : value) text += (text.empty() ? "" : " ") + csv_cell(element);
  return text;
}

std::string verdict(const Finding& finding) {
  return (finding.holds ? "holds: " : "DOES NOT HOLD: ") + finding.statement;
}

std::string markdown_row(const std::vector<std::string>& cells) {
  return fmt::format("| {} |\n", fmt::join(cells, " | "));
}

std::string to_markdown(const Table& table) {
  std::string text = markdown_row(table.header) + "|---|";
  for (std::size_t i = 1; i < table.header.size(); ++i) text += "---:|";
  text += "\n";
  for (const auto& row : table.rows) text += markdown_row(row);
  return text;
}

/// Writes the charts, too.
std::string to_markdown(const Chapter& chapter, const fs::path& images) {
  std::string text = fmt::format("\n    {}\n\n", chapter.command);
  for (const Finding& finding : chapter.report.findings) text += "- " + verdict(finding) + "\n";
  for (const auto& [caption, table] : chapter.report.tables) {
    text += fmt::format("\n{}\n\n{}", caption, to_markdown(table));
  }
  int number = 0;
  for (const auto& [title, svg, caption, page_only] : chapter.report.figures) {
    if (page_only) continue;
    const std::string file = fmt::format("paper_{}_{}.svg", chapter.claim.name, ++number);
    write_file(images / file, standalone_svg(svg));
    text += fmt::format("\n![{}](images/{})\n\n{}\n", title, file, caption);
  }
  return text + "\n";
}

}  // namespace

std::string to_csv(const std::vector<Row>& rows) {
  std::vector<std::string> columns;
  for (const Row& row : rows) {
    for (const auto& [field, value] : row.items()) {
      if (std::find(columns.begin(), columns.end(), field) == columns.end()) {
        columns.push_back(field);
      }
    }
  }
  std::string text = fmt::format("{}\n", fmt::join(columns, ","));
  for (const Row& row : rows) {
    std::vector<std::string> cells;
    cells.reserve(columns.size());
    for (const std::string& column : columns) cells.push_back(csv_cell(row.value(column, Row())));
    text += fmt::format("{}\n", fmt::join(cells, ","));
  }
  return text;
}

std::string to_json(const Chapter& chapter) {
  Row findings = Row::array();
  for (const auto& [statement, holds] : chapter.report.findings) {
    findings.push_back({{"statement", statement}, {"holds", holds}});
  }
  return Row{{"claim", chapter.claim.name},
             {"command", chapter.command},
             {"findings", findings},
             {"rows", chapter.rows}}
             .dump(2) +
         "\n";
}

std::string to_text(const Chapter& chapter) {
  std::string text = fmt::format("== {}: {}\n", chapter.claim.name, chapter.claim.title);
  for (const auto& [caption, table] : chapter.report.tables) {
    text += fmt::format("\n{}\n\n{}", caption, text_table(table.header, table.rows));
  }
  text += "\n";
  for (const Finding& finding : chapter.report.findings) text += verdict(finding) + "\n";
  return text + "\n";
}

std::string to_html(const std::vector<Chapter>& chapters) {
  HtmlReport page("The paper's claims, measured again",
                  "Efficient ConvBN Blocks for Transfer Learning and Beyond (arXiv 2305.11624)");
  page.add_paragraph(
      "Each section is one claim: what is published, how it is measured here, and what came out. "
      "A mark says whether what was to be checked is so.");
  for (const auto& [claim, command, rows, report] : chapters) {
    page.add_heading(claim.title);
    page.add_paragraph("Published: " + claim.published);
    page.add_paragraph("Here: " + claim.method);
    page.add_paragraph("Command: " + command);
    for (const auto& [statement, holds] : report.findings) page.add_check(statement, holds);
    for (const Report::Figure& figure : report.figures) {
      page.add_figure(figure.title, figure.svg, figure.caption);
    }
    for (const auto& [caption, table] : report.tables) {
      page.add_paragraph(caption);
      page.add_table(table.header, table.rows);
    }
  }
  return page.str();
}

void write_docs(const fs::path& document, const std::vector<Chapter>& chapters) {
  std::ifstream file(document);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file) throw Error(fmt::format("{}: cannot be read", document.string()));
  for (const Chapter& chapter : chapters) {
    const std::string begin = fmt::format("<!-- begin {} -->\n", chapter.claim.name);
    const std::size_t from = text.find(begin);
    const std::size_t to = text.find(fmt::format("<!-- end {} -->", chapter.claim.name));
    if (from == std::string::npos || to == std::string::npos || to < from) {
      throw Error(fmt::format("{}: has no lines '<!-- begin {} -->' and '<!-- end {} -->'",
                              document.string(), chapter.claim.name, chapter.claim.name));
    }
    text.replace(from + begin.size(), to - from - begin.size(),
                 to_markdown(chapter, document.parent_path() / "images"));
  }
  write_file(document, text);
}

}  // namespace attune::examples
