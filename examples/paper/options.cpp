#include "paper/options.h"

#include <attune/layers/models/make_model.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>

#include "paper/claim.h"

namespace attune::examples {

void add_paper_options(CLI::App& app, PaperOptions& options) {
  std::vector<std::string> names;
  for (const Claim& claim : all_claims()) names.push_back(claim.name);
  app.add_option("claim", options.claims,
                 fmt::format("Any of {} (default: all)", fmt::join(names, ", ")))
      ->check(CLI::IsMember(names).description(""))
      ->type_name("");
  app.add_flag("--quick", options.quick,
               "Sizes for minutes instead of hours, to see that it works");
  app.add_option("--data", options.run.data,
                 "'synthetic', or a directory with CIFAR-100 and CIFAR-10 in binary form")
      ->type_name("DIR")
      ->capture_default_str();
  app.add_option("--net", options.run.net, "Of the claims about training")
      ->check(CLI::IsMember(model_names()).description(""))
      ->type_name("NAME")
      ->capture_default_str();
  app.add_option("--init", options.run.init,
                 "Its weights, pretrained; without this, they are trained first")
      ->type_name("FILE");
  app.add_option("--pretrain-epochs", options.pretrain_epochs, "How long")
      ->check(CLI::Range(1, 1000).description(""))
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--seeds", options.seeds, "Repetitions of what depends on chance")
      ->check(CLI::Range(1, 100).description(""))
      ->type_name("N")
      ->capture_default_str();
  add_device_options(app, options.run.device, "");
  app.add_option("--threads", options.run.threads, "Threads that compute (0: one a core)")
      ->check(CLI::Range(0, 1024).description(""))
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--out", options.run.out,
                 "Where everything goes; runs that are there already are not repeated")
      ->type_name("DIR")
      ->capture_default_str();
  app.add_flag("--again", options.again, "Repeat them");
  app.add_flag("--report", options.report,
               "Measure nothing: write tables and page of the runs that there are");
  app.add_option("--docs", options.docs, "Put tables and charts into this document, too")
      ->type_name("FILE");
  add_progress_option(app, options.run.progress);
  add_config_option(app);
}

}  // namespace attune::examples
