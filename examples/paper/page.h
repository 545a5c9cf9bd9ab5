#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "paper/claim.h"

namespace attune::examples {

/// A claim, with the rows there are of it.
struct Chapter {
  Claim claim;
  std::string command;  ///< that measures it
  std::vector<Row> rows;
  Report report;
};

/// Comma-separated values: one column for each field that occurs, empty where a row lacks it. Lists
/// have blanks between their values.
std::string to_csv(const std::vector<Row>& rows);
/// {"claim", "command", "findings": [...], "rows": [...]}.
std::string to_json(const Chapter& chapter);
/// The tables as text, and what was found, for a terminal.
std::string to_text(const Chapter& chapter);
/// One page, of all chapters.
std::string to_html(const std::vector<Chapter>& chapters);

/// Puts findings, tables and charts into a document, each chapter between the two lines
///
///     <!-- begin cost -->
///     <!-- end cost -->
///
/// in place of what was there, with the command. Charts become files in images/
/// beside the document. Throws Error if it has no such lines for a chapter.
void write_docs(const std::filesystem::path& document, const std::vector<Chapter>& chapters);

}  // namespace attune::examples
