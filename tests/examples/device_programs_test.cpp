// The programs on the device under test: what they report is what they report on the CPU.

#include <signal.h>  // NOLINT(modernize-deprecated-headers): kill() is not in <csignal>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/device.h"
#include "attune/core/error.h"
#include "attune/core/random.h"
#include "attune/layers/models/resnet.h"
#include "support/tasks.h"
#include "tests/catch.h"
#include "tests/device.h"
#include "tests/examples/run_program.h"
#include "tests/examples/saved_network_files.h"
#include "tests/test_util.h"
#include "train_resnet/trainer.h"

namespace fs = std::filesystem;
using namespace attune;
using namespace attune::test;

namespace {

const std::string kCompare = ATTUNE_COMPARE_MODES;
const std::string kTrain = ATTUNE_TRAIN_RESNET;
const std::string kEvaluate = ATTUNE_EVALUATE;
const std::string kClassify = ATTUNE_CLASSIFY;
const std::string kDeploy = ATTUNE_DEPLOY;

const std::string kTiny = " --limit 16 --batch-size 8 --progress off";
// Few steps, so that sums in another order do not lead two runs apart.
constexpr double kSameLoss = 1e-4;

std::string on_device() { return " --device " + to_string(test_device()); }

/// Runs a program that writes --json, and returns that.
nlohmann::json results(const RunDirectory& directory, const std::string& command) {
  const std::string path = (directory / "r.json").string();
  const Outcome outcome = run(directory, command + " --json " + path);
  INFO(command << "\n" << outcome.err);
  REQUIRE(outcome.exit_code == 0);
  return nlohmann::json::parse(content(path));
}

void check_close(const nlohmann::json& actual, const nlohmann::json& expected, double bound) {
  const double value = actual, wanted = expected;
  INFO(value << " instead of " << wanted);
  CHECK(std::abs(value - wanted) <= bound * std::abs(wanted));
}

std::vector<double> losses(const nlohmann::json& summary) {
  std::vector<double> values;
  for (const nlohmann::json& epoch : summary["epochs"]) values.push_back(epoch["train_loss"]);
  return values;
}

/// Always the same weights.
std::shared_ptr<ResNet> small_net() {
  Generator generator{1, 0};
  return std::make_shared<ResNet>(
      ResNetOptions{.depths = {1, 1}, .width = 4, .stem = ResNetStem::cifar, .classes = 10},
      generator);
}

}  // namespace

TEST_CASE("train_resnet trains on the device as on the CPU") {
  const RunDirectory directory;
  const std::string command = kTrain + kTiny + " --epochs 2 --lr 0.001";
  const nlohmann::json here = results(directory, command + on_device());
  CHECK(content(directory / "stdout")
            .find("\nmode train (" + to_string(test_device()) + ", fp32), from scratch") !=
        std::string::npos);
  CHECK(here["settings"]["device"] == to_string(test_device()));
  CHECK(here["settings"]["precision"] == "fp32");
  const nlohmann::json on_cpu = results(directory, command);
  CHECK(on_cpu["settings"]["device"] == "cpu");
  REQUIRE(losses(here).size() == 2);
  CHECK(relative_error(losses(here), losses(on_cpu)) <= kSameLoss);
  CHECK(losses(results(directory, command + on_device())) == losses(here));
}

TEST_CASE("train_resnet, killed on the device, goes on there to the same bits") {
  const RunDirectory directory;
  const auto command = [&](const std::string& out) {
    return kTrain + kTiny + " --epochs 2 --lr 0.001 --ema 0.9 --out " + (directory / out).string() +
           on_device();
  };
  REQUIRE(run(directory, command("whole")).exit_code == 0);
  const pid_t child = start(directory, command("killed") + " --checkpoint-every 1");
  for (int i = 0; i < 6000 && !fs::exists(directory / "killed/checkpoint.safetensors"); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  kill(child, SIGKILL);
  wait_for(child);
  const Outcome resumed = run(directory, command("killed") + " --checkpoint-every 1 --resume auto");
  INFO(resumed.err);
  REQUIRE(resumed.exit_code == 0);
  CHECK(resumed.out.find("resuming ") != std::string::npos);
  CHECK(content(directory / "killed/weights.safetensors") ==
        content(directory / "whole/weights.safetensors"));
}

TEST_CASE("compare_modes compares on the device as on the CPU") {
  const RunDirectory directory;
  const std::string file = save_resnet20(directory, "net.safetensors", 10);
  const std::string command = kCompare + kTiny + " --init " + file + " --steps 2 --lr 0.0001";
  const nlohmann::json here = results(directory, command + on_device())["modes"];
  const nlohmann::json on_cpu = results(directory, command)["modes"];
  REQUIRE(here.size() == 4);
  for (const auto& [mode, result] : here.items()) {
    INFO(mode);
    CHECK(result["saved_bytes"] == on_cpu[mode]["saved_bytes"]);
    CHECK(result["peak_bytes"].get<std::int64_t>() > result["saved_bytes"].get<std::int64_t>());
    for (int i = 0; i < 2; ++i) check_close(result["loss"][i], on_cpu[mode]["loss"][i], kSameLoss);
  }
}

TEST_CASE("saved networks are tested and used on the device") {
  const RunDirectory directory;
  const std::string file =
      save_resnet20(directory, "net.safetensors", 10, {{"attune.net", "resnet20"}});
  const std::string deployed = (directory / "deployed.safetensors").string();
  REQUIRE(run(directory, kDeploy + " --init " + file + " --out " + deployed).exit_code == 0);
  const std::string picture = write_picture(directory, "picture.ppm");
  for (const std::string& init : {" --init " + file, " --init " + deployed}) {
    for (const char* mode : {" --mode eval", " --mode deploy"}) {
      const std::string command = kEvaluate + init + mode + " --limit 30 --progress off";
      const nlohmann::json here = results(directory, command + on_device());
      check_close(here["loss"], results(directory, command)["loss"], 1e-5);
      CHECK(here["settings"]["device"] == to_string(test_device()));
    }
    const std::string command = kClassify + init + " " + picture;
    const nlohmann::json here = results(directory, command + on_device())["images"][0]["top"];
    const nlohmann::json on_cpu = results(directory, command)["images"][0]["top"];
    CHECK(here[0]["class"] == on_cpu[0]["class"]);
    check_close(here[0]["probability"], on_cpu[0]["probability"], 1e-4);
  }
}

TEST_CASE("the precision is a GPU's, and says so") {
  const RunDirectory directory;
  const std::string command = kTrain + " --limit 8 --batch-size 8 --progress off --epochs 1";
  if (test_device() == Device::cpu) {
    check_error(run(directory, command + " --precision tf32"), 2,
                "--precision tf32 is for --device cuda: the CPU multiplies floats");
    return;
  }
  const double exact = losses(results(directory, command + on_device()))[0];
  double previous = 0;
  for (const char* precision : {"tf32", "bf16"}) {
    const nlohmann::json rounded =
        results(directory, command + on_device() + " --precision " + precision);
    CHECK(content(directory / "stdout").find(std::string(", ") + precision + ")") !=
          std::string::npos);
    CHECK(rounded["settings"]["precision"] == precision);
    const double error = std::abs(losses(rounded)[0] - exact) / exact;
    CHECK(error <= 0.02);
    CHECK(error > previous);
    previous = error;
  }
}

TEST_CASE("steps are recorded by a GPU alone, and have no profile") {
  const RunDirectory directory;
  for (const std::string& program : {kTrain, kCompare}) {
    check_error(run(directory, program + " --cuda-graph"), 2,
                "--cuda-graph is for --device cuda: only a GPU repeats a step by itself");
    check_error(run(directory, program + " --cuda-graph --profile --device cuda"), 2,
                "--cuda-graph");
  }
}

TEST_CASE("train_resnet repeated leaves the same bits; a GPU also recording, or without its data") {
  const bool on_gpu = test_device() != Device::cpu;
  const RunDirectory directory;
  const std::string command =
      kTrain + " --limit 12 --batch-size 4 --epochs 1 --progress off" + on_device();
  check_error(run(directory, command + " --resident maybe"), 2, "--resident");
  const auto settings = [&](const std::string& out) {
    return results(directory, command + " --out " + (directory / out).string())["settings"];
  };
  const nlohmann::json called = settings(on_gpu ? "called --resident off" : "called");
  const nlohmann::json repeated = settings(on_gpu ? "repeated --cuda-graph" : "repeated");
  CHECK(called["cuda_graph"] == false);
  CHECK(repeated["cuda_graph"] == on_gpu);
  CHECK(repeated["resident"] == "auto");
  if (on_gpu) {
    CHECK(called["resident"] == false);
    CHECK(content(directory / "stdout").find(", fp32, recorded steps), from scratch") !=
          std::string::npos);
  }
  const bool same = content(directory / "called/weights.safetensors") ==
                    content(directory / "repeated/weights.safetensors");  // too many to be printed
  CHECK(same);
}

TEST_CASE("compare_modes repeated finds the same, bit for bit; a GPU also recording") {
  const bool on_gpu = test_device() != Device::cpu;
  const RunDirectory directory;
  // As many steps of pretraining as of each mode: one is called, one recorded, one repeated.
  const std::string command = kCompare +
                              " --limit 6 --batch-size 2 --pretrain-epochs 1 --epochs 1 "
                              "--modes tune,deploy --lr 0.0001 --progress off" +
                              on_device();
  const auto found = [&](const std::string& more, bool recorded) {
    nlohmann::json json = results(directory, command + more);
    CHECK(json["settings"]["cuda_graph"] == recorded);
    json["settings"].erase("cuda_graph");
    for (nlohmann::json& mode : json["modes"]) {
      CHECK(mode["loss"].size() == 3);
      CHECK(mode["diverged"] == false);
      mode.erase("ms");
    }
    return json;
  };
  const nlohmann::json called = found("", false);
  CHECK(found(on_gpu ? " --cuda-graph" : "", on_gpu) == called);
  const bool says_so =
      content(directory / "stdout").find(", fp32, recorded steps)") != std::string::npos;
  CHECK(says_so == on_gpu);
  CHECK(called["modes"].size() == 2);
}

TEST_CASE("runs of many steps and epochs have the same bits, recorded or not, resident or not") {
  const RunDirectory directory;
  for (const Mode mode : {Mode::train, Mode::tune}) {
    examples::TrainOptions options;
    options.run.limit = 12;
    options.run.batch_size = 4;
    options.run.progress = examples::ProgressStyle::off;
    options.epochs = 3;
    options.lr = 0.02;
    options.label_smoothing = 0.1;
    options.ema = mode == Mode::train ? 0.9 : 0;
    options.mode = mode;
    const examples::Task task = examples::open_task(options.run);
    const auto leave = [&](const std::string& out, bool cuda_graph, std::optional<bool> resident) {
      options.run.out = directory / out;
      options.run.cuda_graph = cuda_graph;
      options.run.resident = resident;
      fs::create_directories(options.run.out);
      examples::Trainer trainer(small_net(), task, options);
      std::vector<double> figures;
      trainer.run([&](std::size_t, const examples::EpochResult& epoch) {
        figures.insert(figures.end(), {epoch.train_loss, epoch.test_accuracy, epoch.last_lr});
      });
      return figures;
    };
    const std::vector<double> expected = leave("called", false, false);
    CHECK(expected.size() == 9);
    CHECK(leave("resident", false, true) == expected);
    CHECK(leave("recorded", test_device() != Device::cpu, {}) == expected);
    for (const char* out : {"resident", "recorded"}) {
      const bool same = content(directory / out / "weights.safetensors") ==
                        content(directory / "called/weights.safetensors");
      CHECK(same);
    }
  }
}

TEST_CASE("a run that diverges, recorded or not, leaves the checkpoint before, and can go on") {
  const RunDirectory directory;
  examples::TrainOptions options;
  options.run.limit = 6;
  options.run.batch_size = 2;
  options.run.progress = examples::ProgressStyle::off;
  options.epochs = 2;
  options.lr = 0.02;
  const examples::Task task = examples::open_task(options.run);
  for (const bool recorded : {false, true}) {
    if (recorded && test_device() == Device::cpu) continue;
    INFO((recorded ? "recorded" : "called"));
    options.run.cuda_graph = recorded;
    options.run.out = directory / "whole";
    fs::create_directories(options.run.out);
    examples::Trainer(small_net(), task, options).run([](std::size_t, const auto&) {});

    options.run.out = directory / (recorded ? "recorded" : "called");
    fs::create_directories(options.run.out);
    const fs::path checkpoint = options.run.out / "checkpoint.safetensors";
    const auto net = small_net();
    std::string saved;
    std::vector<float> weights;
    const Tensor scales = net->parameters()[1];
    examples::Trainer trainer(net, task, options);
    const std::string message = message_of<examples::Diverged>([&] {
      trainer.run([&](std::size_t, const auto&) {
        saved = content(checkpoint);
        weights = scales.to_vector<float>();
        const NoGradGuard no_grad;
        Tensor head = net->head().weight();
        head.fill_(std::numeric_limits<double>::quiet_NaN());
      });
    });
    CHECK(message.find("training diverged: the loss of step 3 is ") == 0);
    const bool same_file = content(checkpoint) == saved;  // too much to be printed
    CHECK(same_file);
    // Nobody could look before a recorded step made its update.
    CHECK((scales.to_vector<float>() == weights) == !recorded);

    examples::Trainer again(small_net(), task, options);
    again.resume(checkpoint);
    again.run([](std::size_t, const auto&) {});
    const bool same_end = content(options.run.out / "weights.safetensors") ==
                          content(directory / "whole" / "weights.safetensors");
    CHECK(same_end);
  }
}

TEST_CASE("small images are kept on a GPU, unless one wants it otherwise") {
  const bool on_gpu = test_device() != Device::cpu;
  examples::RunOptions options{.limit = 16, .batch_size = 8};
  const examples::Task task = examples::open_task(options);
  const auto resident = [&] {
    const bool test = examples::test_batches(task, options).options().resident;
    CHECK(examples::training_batches(task, options).options().resident == test);
    return test;
  };
  CHECK(resident() == on_gpu);
  for (const bool wish : {true, false}) {
    options.resident = wish;
    CHECK(resident() == wish);
  }
  const RunDirectory directory;
  for (const char* file : {"train/cat/1.ppm", "test/cat/1.ppm"}) write_picture(directory, file);
  options = {.data = (directory / "").string(), .batch_size = 1};
  const examples::Task folder = examples::open_task(options);
  CHECK(!examples::training_batches(folder, options).options().resident);
  options.resident = true;
  CHECK(message_of<Error>([&] {
          examples::training_batches(folder, options);
        }).find("images of a resident data set have one size") != std::string::npos);
}

TEST_CASE("a device that cannot be used is one clear line") {
  const RunDirectory directory;
  const std::string missing =
      message_of<Error>([] { check_available(Device::cuda(63), "--device"); });
  CHECK(missing.rfind("--device: cuda:63 is not available, ", 0) == 0);
  const std::string file =
      save_resnet20(directory, "net.safetensors", 10, {{"attune.net", "resnet20"}});
  const std::string init = " --init " + file, picture = write_picture(directory, "picture.ppm");
  for (const std::string& command :
       {kTrain, kCompare, kEvaluate + init, kClassify + init + " " + picture}) {
    INFO(command);
    check_error(run(directory, command + " --device cuda:63"), 1, missing);
    check_error(run(directory, command + " --device gpu"), 2,
                "--device: there is no device 'gpu': choose cpu, cuda or cuda:N");
    check_error(run(directory, command + " --device cuda:-1"), 2, "there is no device 'cuda:-1'");
    check_error(run(directory, command + " --precision fp8"), 2, "--precision");
  }
}
