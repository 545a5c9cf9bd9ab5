#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace attune::examples {

/// Every row has as many cells as the header.
struct Table {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};

/// Aligned columns for a terminal: the first one to the left, the others to the right, and a rule
/// below the header. Every row has as many cells as `header`.
std::string text_table(const std::vector<std::string>& header,
                       const std::vector<std::vector<std::string>>& rows);

/// Bytes as MiB with one digit: "12.3".
std::string mebibytes(std::int64_t bytes);

/// "87.3 %" for 0.873; "-" for NaN.
std::string percent(double fraction);

/// A loss, short even if it is huge: "0.0123", "1.23e+20", "nan".
std::string loss_text(double loss);

/// The middle value (the mean of the two in the middle); NaN if there is none.
double median(std::vector<double> values);

}  // namespace attune::examples
