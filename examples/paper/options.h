#pragma once

#include "paper/lab.h"

namespace attune::examples {

/// Adds what reproduce can be asked for.
void add_paper_options(CLI::App& app, PaperOptions& options);

}  // namespace attune::examples
