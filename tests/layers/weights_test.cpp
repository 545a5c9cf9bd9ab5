// Files of weights: PyTorch's are loaded, ours are PyTorch's, and whatever does not fit is listed
// and changes nothing.

#include "attune/layers/weights.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "attune/core/checkpoint.h"
#include "attune/core/ops/softmax_cross_entropy.h"
#include "attune/core/pytorch_layout.h"
#include "attune/layers/models/resnet.h"
#include "tests/data/temporary_directory.h"
#include "tests/golden.h"
#include "tests/layers/layers_test_util.h"
#include "tests/set_element.h"

namespace fs = std::filesystem;
using namespace attune;
using namespace attune::test;

namespace {

fs::path golden_path(const std::string& file) {
  return std::string(ATTUNE_TEST_DATA_DIR) + "/golden/" + file;
}

std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::shared_ptr<ResNet> build(const Json& config, std::int64_t classes = 0) {
  Generator generator{3, 0};
  const bool padded = config.at("shortcut") == "A";
  return std::make_shared<ResNet>(
      ResNetOptions{.depths = config.at("depths"),
                    .width = config.at("width"),
                    .stem = config.at("imagenet_stem") ? ResNetStem::imagenet : ResNetStem::cifar,
                    .shortcut = padded ? ResNetShortcut::pad : ResNetShortcut::projection,
                    .classes = classes > 0 ? classes : config.at("classes").get<std::int64_t>()},
      generator);
}

/// golden_files.py's projection(), and the norm.
std::pair<double, double> projection_and_norm(const Tensor& gradient) {
  const std::vector<double> values = to_pytorch_layout(gradient).to_vector<double>();
  double projection = 0, squares = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    projection += values[i] * std::cos(static_cast<double>(i));
    squares += values[i] * values[i];
  }
  return {projection, std::sqrt(squares)};
}

NamedTensors without(NamedTensors tensors, const std::string& part) {
  std::erase_if(tensors,
                [&](const auto& entry) { return entry.first.find(part) != std::string::npos; });
  return tensors;
}

NamedTensors renamed(NamedTensors tensors, const std::string& from, const std::string& to) {
  for (auto& [name, tensor] : tensors) {
    const std::size_t at = name.find(from);
    if (at != std::string::npos) name.replace(at, from.size(), to);
  }
  return tensors;
}

/// Two blocks, the second with a shortcut of its own, on 8x8 images.
std::shared_ptr<ResNet> small_resnet(std::uint64_t seed, std::int64_t classes = 3) {
  Generator generator{seed, 0};
  auto net = std::make_shared<ResNet>(
      ResNetOptions{.depths = {1, 1}, .width = 2, .stem = ResNetStem::cifar, .classes = classes},
      generator);
  pretend_trained(*net, generator);
  return net;
}

Tensor small_images() {
  Generator generator{77, 0};
  return random_normal({2, 8, 8, 3}, 0, 1, generator);
}

std::vector<float> outputs(Module& net) {
  const NoGradGuard no_grad;
  return net(small_images()).to_vector<float>();
}

}  // namespace

TEST_CASE("weights: PyTorch's files give PyTorch's results", "[weights]") {
  for (const std::string name : {"torchvision_resnet18", "data_parallel_resnet20"}) {
    const Json golden = read_golden(name + ".json");
    for (const DType dtype : {DType::float64, DType::float32}) {
      for (const Mode mode : {Mode::eval, Mode::tune}) {
        INFO(name << ", " << to_string(dtype) << ", " << to_string(mode));
        const auto net = build(golden.at("config"));
        net->to(dtype);
        net->set_mode(mode);
        CHECK(load_weights(*net, golden_path(name + ".safetensors")).complete());

        const Tensor x = golden_leaf(golden.at("tensors"), "x", dtype);
        const Tensor logits = (*net)(x);
        const Tensor loss = softmax_cross_entropy(
            logits, golden_tensor(golden.at("tensors").at("targets")).to(DType::int64));
        loss.backward();
        const double tolerance = golden_tolerance(dtype);
        CHECK(golden_error(logits, golden.at("logits")) <= tolerance);
        CHECK(golden_error(loss, golden.at("loss")) <= tolerance);
        NamedTensors leaves = net->named_parameters();
        leaves.emplace_back("x", x);
        CHECK(leaves.size() == golden.at("gradients").size());
        for (const auto& [leaf_name, leaf] :
             renamed(leaves, "fc.", golden.at("config").at("head").get<std::string>() + ".")) {
          INFO(leaf_name);
          const auto [projection, norm] = projection_and_norm(leaf.grad());
          const Json& expected = golden.at("gradients").at(leaf_name);
          CHECK(std::abs(projection - expected.at(0).get<double>()) <= 10 * tolerance * norm);
          CHECK(std::abs(norm - expected.at(1).get<double>()) <= 10 * tolerance * norm);
        }
      }
    }
  }
}

TEST_CASE("weights: what is saved is what PyTorch's library would save, byte for byte",
          "[weights]") {
  // The golden file is PyTorch's own, and PyTorch has loaded it with strict=True.
  const TemporaryDirectory directory;
  const fs::path golden = golden_path("torchvision_resnet18.safetensors");
  const auto net = build(read_golden("torchvision_resnet18.json").at("config"));
  load_weights(*net, golden);
  save_weights(*net, directory.path() / "saved.safetensors");
  CHECK(bytes_of(directory.path() / "saved.safetensors") == bytes_of(golden));
}

TEST_CASE("weights: the names of the published networks", "[weights]") {
  const auto entries = [](const std::string& net, ResNetShortcut shortcut) {
    return make_resnet(net, {.shortcut = shortcut})->state_dict().size();
  };
  CHECK(entries("resnet18", ResNetShortcut::projection) == 122);
  CHECK(entries("resnet34", ResNetShortcut::projection) == 218);
  // Files of the time before num_batches_tracked have 97.
  CHECK(entries("resnet20", ResNetShortcut::pad) == 97 + 19);
}

TEST_CASE("weights: layouts there and back", "[weights]") {
  Generator generator{1, 0};
  const Tensor filter = random_normal({4, 3, 2, 5}, 0, 1, generator);
  const Tensor there = to_pytorch_layout(filter);
  REQUIRE(there.shape() == Shape{4, 5, 3, 2});
  const auto ours = filter.to_vector<float>(), theirs = there.to_vector<float>();
  for (std::size_t o = 0; o < 4; ++o) {
    for (std::size_t i = 0; i < 5; ++i) {
      for (std::size_t p = 0; p < 6; ++p)
        CHECK(theirs[(o * 5 + i) * 6 + p] == ours[(o * 6 + p) * 5 + i]);
    }
  }
  CHECK(from_pytorch_layout(there).to_vector<float>() == ours);
  // Anything else is left alone: other ranks, labels.
  const Tensor labels = Tensor::from(std::vector<std::int64_t>(16), {2, 2, 2, 2});
  CHECK(to_pytorch_layout(labels).shared_storage() == labels.shared_storage());
  const Tensor matrix = Tensor::ones({3, 2});
  CHECK(from_pytorch_layout(matrix).shared_storage() == matrix.shared_storage());
}

TEST_CASE("weights: habits of those who write files", "[weights]") {
  auto net = small_resnet(1);
  net->set_mode(Mode::eval);
  const std::vector<float> expected = outputs(*net);
  const NamedTensors own = net->state_dict();
  const auto loads = [&](const NamedTensors& tensors) {
    auto other = small_resnet(2);
    other->set_mode(Mode::eval);
    const Weights weights{.file = "f", .tensors = tensors, .metadata = {}};
    CHECK(load_weights(*other, weights).complete());
    return outputs(*other) == expected;
  };
  CHECK(loads(own));
  CHECK(loads(renamed(own, "", "module.")));
  CHECK(loads(renamed(own, "fc.", "linear.")));
  CHECK(loads(renamed(own, ".downsample.", ".shortcut.")));
  CHECK(loads(without(own, "num_batches_tracked")));
  CHECK(loads(renamed(renamed(renamed(without(own, "num_batches_tracked"), "fc.", "linear."),
                              ".downsample.", ".shortcut."),
                      "", "module.")));
}

TEST_CASE("weights: other names are taken only where they mean the same", "[weights]") {
  auto net = small_resnet(1);
  NamedTensors both = net->state_dict();
  const auto error = [&](const NamedTensors& tensors) {
    return message_of<Error>(
        [&] { load_weights(*net, {.file = "f", .tensors = tensors, .metadata = {}}); });
  };
  both.emplace_back("linear.weight", Tensor::zeros({3, 4}));
  CHECK(error(both) == "f: load_state_dict: unexpected: linear.weight");
  CHECK(contains(error(renamed(net->state_dict(), "fc.", "fcx.")), "unexpected: fcx.weight"));
  NamedTensors mixed = renamed(net->state_dict(), "conv1", "module.conv1");
  CHECK(contains(error(mixed), "missing: conv1.weight"));
}

TEST_CASE("weights: a head for other classes is refused, or replaced", "[weights]") {
  const TemporaryDirectory directory;
  const fs::path path = directory.path() / "w.safetensors";
  auto net = small_resnet(1, 3);
  save_weights(*net, path, {.head = "linear"});
  CHECK(find(read_safetensors(path).tensors, "linear.bias").shape() == Shape{3});

  auto other = small_resnet(2, 5);
  const auto before = all_values(other->state_dict());
  CHECK(message_of<Error>([&] { load_weights(*other, path); }) ==
        path.string() +
            ": load_state_dict: of another shape: fc.weight is [3, 4], not [5, 4], fc.bias is [3], "
            "not [5]");
  CHECK(all_values(other->state_dict()) == before);

  const Tensor own_head = other->head().weight().clone();
  const LoadReport report = load_weights(*other, path, {.replace_head = true});
  CHECK(report.complete());
  REQUIRE(report.replaced.size() == 2);
  CHECK(to_string(report) == "new head: fc.bias is [3], not [5], fc.weight is [3, 4], not [5, 4]");
  CHECK(other->head().weight().to_vector<float>() == own_head.to_vector<float>());
  CHECK(find(other->state_dict(), "conv1.weight").to_vector<float>() ==
        find(net->state_dict(), "conv1.weight").to_vector<float>());
  // With as many classes the head is the file's, as asked or not.
  auto same = small_resnet(3, 3);
  CHECK(load_weights(*same, path, {.replace_head = true}).replaced.empty());
  CHECK(all_values(same->state_dict()) == all_values(net->state_dict()));
  // Of other features it is an error all the same.
  Generator generator{1, 0};
  const auto wider = std::make_shared<ResNet>(
      ResNetOptions{.depths = {1, 1}, .width = 4, .stem = ResNetStem::cifar, .classes = 3},
      generator);
  CHECK_THROWS_AS(load_weights(*wider, path, {.replace_head = true}), Error);
  const LoadReport misfit = load_weights(*wider, path, {.strict = false, .replace_head = true});
  CHECK(misfit.replaced.empty());
  REQUIRE(!misfit.mismatched.empty());
  CHECK(misfit.mismatched.back().name == "fc.weight");
  CHECK(misfit.mismatched.back().found == Shape{3, 4});
  CHECK(misfit.mismatched.back().wanted == Shape{3, 8});
}

TEST_CASE("weights: a load that is not strict takes what fits", "[weights]") {
  auto net = small_resnet(1);
  const auto other = small_resnet(2);
  const NamedTensors part = without(without(net->state_dict(), "layer"), "bn1");
  const LoadReport report =
      load_weights(*other, {.file = "f", .tensors = part, .metadata = {}}, {.strict = false});
  CHECK(!report.complete());
  CHECK(report.unexpected.empty());
  CHECK(report.missing.size() == other->state_dict().size() - part.size() - 6);  // 6 counters
  CHECK(other->head().weight().to_vector<float>() == net->head().weight().to_vector<float>());
}

TEST_CASE("weights: a deployed network's file", "[weights]") {
  const TemporaryDirectory directory;
  const fs::path path = directory.path() / "deployed.safetensors";
  auto net = small_resnet(1);
  // Of one block a channel has no scale: its filter is kept aside.
  set_element(find(net->named_parameters(), "layer1.0.bn1.weight"), 1, 0);
  net->set_mode(Mode::eval);
  const std::vector<float> original = outputs(*net);
  net->deploy();
  const std::vector<float> deployed = outputs(*net);
  save_weights(*net, path, {.metadata = {{"mine", "1"}}});

  const SafetensorsFile file = read_safetensors(path);
  CHECK(file.metadata ==
        SafetensorsMetadata{{"attune.mode", "deploy"}, {"format", "pt"}, {"mine", "1"}});
  CHECK(find(file.tensors, "conv1.weight").shape() == Shape{2, 3, 3, 3});
  CHECK(find(file.tensors, "conv1.bias").shape() == Shape{2});
  CHECK(find(file.tensors, "layer2.0.downsample.0.folded_bn.var").shape() == Shape{4});
  CHECK(find(file.tensors, "layer1.0.conv1.folded_bn.weight").shape() == Shape{2, 2, 3, 3});
  for (const auto& [name, tensor] : file.tensors) {
    INFO(name);
    CHECK(name.find("bn1.") != 0);
    CHECK(name.find(".bn") == std::string::npos);
    if (name != "layer1.0.conv1.folded_bn.weight") CHECK(!name.ends_with("folded_bn.weight"));
  }

  // A network that kept no filter aside takes it; and back.
  for (const std::uint64_t seed : {2, 3}) {
    auto other = small_resnet(seed);
    CHECK(message_of<Error>([&] { load_weights(*other, path); }) ==
          path.string() + ": this is a deployed network; call deploy() before loading");
    other->deploy();
    CHECK(load_weights(*other, path).complete());
    CHECK(outputs(*other) == deployed);
    CHECK(names(other->state_dict()) == names(net->state_dict()));
    CHECK(all_values(other->state_dict()) == all_values(net->state_dict()));
    other->undeploy();
    // The filter that no division restores is there again.
    CHECK(find(other->state_dict(), "layer1.0.conv1.weight").to_vector<float>() !=
          std::vector<float>(36));
    CHECK(relative_error(outputs(*other), original) <= 1e-5);
  }
  net->undeploy();
  CHECK(contains(message_of<Error>([&] {
                   const auto other = small_resnet(2);
                   other->deploy();
                   save_weights(*net, path);
                   load_weights(*other, path);
                 }),
                 "call undeploy() before loading"));
}

TEST_CASE("weights: a filter kept aside goes when a file without it is loaded", "[weights]") {
  auto with = small_resnet(1), without_it = small_resnet(2);
  {
    const NoGradGuard no_grad;
    find(with->named_parameters(), "bn1.weight").fill_(0);
  }
  with->deploy();
  without_it->deploy();
  CHECK(names(with->state_dict()) != names(without_it->state_dict()));
  CHECK(with->load_state_dict(without_it->state_dict()).complete());
  CHECK(names(with->state_dict()) == names(without_it->state_dict()));
  with->set_mode(Mode::deploy);
  CHECK(outputs(*with) == outputs(*without_it));
  // A load of something else leaves it alone.
  auto again = small_resnet(1);
  {
    const NoGradGuard no_grad;
    find(again->named_parameters(), "bn1.weight").fill_(0);
  }
  again->deploy();
  const auto before = names(again->state_dict());
  again->load_state_dict({{"fc.bias", Tensor::zeros({3})}}, false);
  CHECK(names(again->state_dict()) == before);
  CHECK(contains(message_of<Error>([&] {
                   again->load_state_dict({{"conv1.folded_bn.weight", Tensor::zeros({1})}});
                 }),
                 "conv1.folded_bn.weight is [1], not [2, 3, 3, 3]"));
}

TEST_CASE("weights: a checkpoint is a file of weights, too", "[weights]") {
  const TemporaryDirectory directory;
  const fs::path path = directory.path() / "checkpoint.safetensors";
  auto net = small_resnet(1), other = small_resnet(2);
  save_checkpoint(path, {.model = net->state_dict(),
                         .optimizer = {{"group0.lr", Tensor::scalar(1, DType::float64)}}});
  CHECK(load_weights(*other, path).complete());
  CHECK(all_values(other->state_dict()) == all_values(net->state_dict()));
}

TEST_CASE("weights: a file that is damaged changes nothing", "[weights]") {
  const TemporaryDirectory directory;
  const fs::path path = directory.path() / "w.safetensors";
  auto net = small_resnet(1), other = small_resnet(2);
  save_weights(*net, path);
  fs::resize_file(path, fs::file_size(path) - 1);
  const auto before = all_values(other->state_dict());
  CHECK(contains(message_of<Error>([&] { load_weights(*other, path); }), "the file ends within"));
  CHECK(all_values(other->state_dict()) == before);
}
