#pragma once

#include <attune/layers/mode.h>
#include <attune/layers/module.h>

#include <cstdint>
#include <string>
#include <vector>

#include "support/chart.h"
#include "support/html_report.h"
#include "support/prediction.h"

// Figures that the pages of several programs have in common.

namespace attune::examples {

/// "Tune".
std::string capitalized(Mode mode);
/// A mode has one colour in all charts.
int color_of(Mode mode);

double in_mebibytes(std::int64_t bytes);

/// s^2 = gamma^2 / (var + eps) of every channel of every ConvBN: by what Deploy's steps differ from
/// Eval's.
std::vector<double> squared_scales(const Module& net);

/// How many channels have which s^2.
BarChart scale_chart(const std::vector<double>& squared_scales);

/// The same as a figure, and why that makes training in Deploy unstable. `whose`: "the pretrained
/// network". Nothing without channels.
void add_scale_figure(HtmlReport& page, const std::vector<double>& squared_scales,
                      const std::string& whose);

/// What each layer keeps for the backward pass of a step on `batch` images, in each mode, and the
/// sums in a table. Nothing without layers.
void add_saved_bytes_figure(HtmlReport& page, const ModeReports& reports, std::int64_t batch);

}  // namespace attune::examples
