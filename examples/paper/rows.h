#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "paper/claim.h"

// What reports are made of: rows selected, put together and summarised.

namespace attune::examples {

/// A field as a number; NaN if it is null or missing.
double number(const Row& row, const std::string& field);

/// The rows whose fields are those of `wanted`.
std::vector<Row> where(const std::vector<Row>& rows, const Row& wanted);

/// Rows that agree in some fields, and these fields.
struct Group {
  Row key;
  std::vector<Row> rows;
};
/// In the order in which the keys first appear.
std::vector<Group> group_by(const std::vector<Row>& rows, const std::vector<std::string>& fields);

/// Of the numbers among some values, such as one a seed.
struct Spread {
  double mean = 0;       ///< NaN if there is none
  double deviation = 0;  ///< of the sample (n - 1); 0 for a single value
  std::size_t count = 0;
};
Spread spread(const std::vector<Row>& rows, const std::string& field);
/// Whether the means differ by no more than the larger deviation, or `tolerance`. Not if one is
/// NaN.
bool agree(const Spread& a, const Spread& b, double tolerance = 0.005);
/// The largest of a field; NaN if one is no number, or if there are none.
double largest(const std::vector<Row>& rows, const std::string& field);
/// The middle value of a field.
double median(const std::vector<Row>& rows, const std::string& field);

/// "50.7 ± 0.3 %", "50.7 %" for a single value, "-" for none; of fractions.
std::string percent(const Spread& spread);
/// "0.82", or "-" if it is no number.
std::string ratio_text(double value, double reference);
/// By how much a value is lower than another: "−23.6 %".
std::string saving(double value, double reference);

/// Time of a step, "ms", relative to Eval's: the median over runs that took turns with those of
/// `eval`, each compared with its own.
double time_ratio(const std::vector<Row>& runs, const std::vector<Row>& eval);

/// "Tune" for "tune".
std::string capitalized(std::string name);
/// The colour of a mode, by its name, in all charts.
int color_of(const std::string& mode);

}  // namespace attune::examples
