#pragma once

#include <string>
#include <vector>

namespace attune::examples {

/// A page that stands on its own: one HTML file, styles included, no scripts, light or dark as the
/// reader prefers. It is well-formed XML as well, so that any tool can check it.
class HtmlReport {
 public:
  HtmlReport(std::string title, std::string subtitle);

  void add_heading(const std::string& text);
  void add_paragraph(const std::string& text);
  /// A row of large numbers, each with what it says below.
  struct Highlight {
    std::string number;
    std::string meaning;
  };
  void add_highlights(const std::vector<Highlight>& highlights);
  /// A statement, marked as true or not.
  void add_check(const std::string& statement, bool holds);
  /// `svg` is what to_svg() (chart.h) gives.
  void add_figure(const std::string& title, const std::string& svg, const std::string& caption);
  /// Every row has as many cells as `header`; the first column is text, the others are numbers.
  void add_table(const std::vector<std::string>& header,
                 const std::vector<std::vector<std::string>>& rows);

  /// The whole page.
  std::string str() const;

 private:
  std::string title_;
  std::string subtitle_;
  std::string body_;
};

/// What to_svg() gives, with the styles it needs: a file that a document can show as an image.
std::string standalone_svg(const std::string& svg);

}  // namespace attune::examples
