#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "support/text_table.h"

// What the paper (arXiv 2305.11624) claims, each claim as three things: what is published, the runs
// that measure it again, and what is made of their results. One file a claim, in this directory.

namespace attune::examples {

class Lab;

/// Named values, in an order that is that of the columns: what a run was, and what came out of it.
/// What could not be measured (an accuracy that is no number) is null.
using Row = nlohmann::ordered_json;

/// A unit of measuring. One that has ended is not measured again; one that is interrupted is lost.
struct Experiment {
  Row settings;  ///< everything that the outcome depends on, and so what tells runs apart
  std::function<std::vector<Row>()> measure;  ///< at least one row, without the settings
};

/// Something that can be checked, and whether it is so.
struct Finding {
  std::string statement;
  bool holds = false;
};

/// What is told about a claim, on the page and in docs/paper.md.
struct Report {
  struct NamedTable {
    std::string caption;
    Table table;
  };
  struct Figure {
    std::string title, svg, caption;
    /// Shows images that are others' to publish: no document gets it.
    bool page_only = false;
  };
  std::vector<Finding> findings = {};
  std::vector<NamedTable> tables = {};
  std::vector<Figure> figures = {};
};

struct Claim {
  std::string name;  ///< on the command line
  std::string title;
  std::string published;  ///< what the paper, or those who built on it, report
  std::string method;     ///< how it is measured here
  std::function<std::vector<Experiment>(Lab&)> plan;
  /// Of any part of the runs, as the settings and the outcome of each in one row.
  std::function<Report(const std::vector<Row>&)> report;
};

Claim cost_claim();
Claim memory_claim();
Claim numerics_claim();
Claim stability_claim();
Claim transfer_claim();
Claim frozen_claim();
Claim pretraining_claim();
Claim adversarial_claim();
Claim detection_claim();

/// In the order of the page.
std::vector<Claim> all_claims();

}  // namespace attune::examples
