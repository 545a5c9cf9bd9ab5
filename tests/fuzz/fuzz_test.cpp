// Files that are damaged in every way: the fuzzers' corpus, and thousands of mutations of valid
// files, which a reader must survive. It may refuse or accept them, but not crash, hang, ask for
// more memory than the file has reason to, or change half of a network.

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/checkpoint.h"
#include "attune/core/memory_stats.h"
#include "attune/data/image.h"
#include "attune/layers/models/resnet.h"
#include "attune/layers/weights.h"
#include "attune/optim/sgd.h"
#include "tests/data/image_files.h"
#include "tests/data/temporary_directory.h"
#include "tests/fuzz/memory_file.h"
#include "tests/layers/layers_test_util.h"

namespace fs = std::filesystem;
using namespace attune;
using namespace attune::test;

namespace {

using Content = std::vector<std::uint8_t>;

Content read_bytes(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

Content bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

/// Makes damaged copies of a file, the same ones in every run.
class Mutator {
 public:
  /// Most damage goes to the first `head` bytes, where the structure is.
  Mutator(Content valid, std::size_t head, std::uint64_t seed)
      : valid_(std::move(valid)), head_(head), random_(seed) {}

  Content next() {
    Content bytes = valid_;
    for (std::int64_t left = random_.integer(1, 3); left > 0; --left) damage(bytes);
    return bytes;
  }

 private:
  std::size_t place(const Content& bytes) {
    const bool in_head = random_.integer(1, 8) > 1;
    const std::size_t size = in_head ? std::min(head_, bytes.size()) : bytes.size();
    return static_cast<std::size_t>(random_.integer(0, static_cast<std::int64_t>(size) - 1));
  }

  void damage(Content& bytes) {
    if (bytes.empty()) return;
    const std::size_t at = place(bytes);
    const auto here = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    const std::int64_t length = random_.integer(1, 64);
    const auto rest = std::min<std::ptrdiff_t>(length, bytes.end() - here);
    switch (random_.integer(0, 8)) {
      case 0:
        bytes[at] ^= static_cast<std::uint8_t>(1 << random_.integer(0, 7));
        break;
      case 1:
        bytes[at] = static_cast<std::uint8_t>(random_.integer(0, 255));
        break;
      case 2:
        bytes.erase(here, here + rest);
        break;
      case 3: {  // the same again
        const Content again(here, here + rest);
        bytes.insert(here, again.begin(), again.end());
        break;
      }
      case 4:
        bytes.resize(at);
        break;
      case 5:
        bytes.insert(bytes.end(), static_cast<std::size_t>(length), bytes[at]);
        break;
      case 6: {  // pieces change places
        const std::size_t other = place(bytes);
        const auto count =
            std::min({static_cast<std::size_t>(length), bytes.size() - at, bytes.size() - other});
        for (std::size_t i = 0; i < count; ++i) std::swap(bytes[at + i], bytes[other + i]);
        break;
      }
      case 7: {  // another number
        const auto digit =
            std::find_if(here, bytes.end(), [](int c) { return c >= '0' && c <= '9'; });
        if (digit != bytes.end()) *digit = static_cast<std::uint8_t>('0' + random_.integer(0, 9));
        break;
      }
      default: {  // something that means something in one of the formats
        static const std::vector<std::string> words{"\"",
                                                    "{",
                                                    "}",
                                                    "[",
                                                    "]",
                                                    ",",
                                                    ":",
                                                    "-1",
                                                    "1e9",
                                                    "18446744073709551615",
                                                    "\\u0000",
                                                    "F64",
                                                    "BF16",
                                                    "\"dtype\"",
                                                    "\"__metadata__\"",
                                                    std::string(8, '\xff'),
                                                    std::string(4, '\0'),
                                                    "\xff\xd9",
                                                    "IDAT"};
        const std::string& word = words[static_cast<std::size_t>(
            random_.integer(0, static_cast<std::int64_t>(words.size()) - 1))];
        bytes.insert(here, word.begin(), word.end());
        break;
      }
    }
  }

  Content valid_;
  std::size_t head_;
  Random random_;
};

/// Length of a safetensors file's header, with the 8 bytes before.
std::size_t header_bytes(const Content& file) {
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof length);
  return static_cast<std::size_t>(length) + 8;
}

/// As they are damaged, every other one gets a length that fits its header, which then is read.
void repair_length(Content& file, const Content& valid) {
  const std::size_t header = header_bytes(valid);
  const auto grown =
      static_cast<std::ptrdiff_t>(file.size()) - static_cast<std::ptrdiff_t>(valid.size());
  const std::ptrdiff_t length = static_cast<std::ptrdiff_t>(header) - 8 + grown;
  if (length < 0 || file.size() < 8) return;
  const auto stored = static_cast<std::uint64_t>(length);
  std::memcpy(file.data(), &stored, sizeof stored);
}

std::shared_ptr<ResNet> small_resnet(std::uint64_t seed) {
  Generator generator{seed, 0};
  auto net = std::make_shared<ResNet>(
      ResNetOptions{.depths = {1}, .width = 2, .stem = ResNetStem::cifar, .classes = 3}, generator);
  pretend_trained(*net, generator);
  return net;
}

struct Outcomes {
  int accepted = 0, refused = 0;
};

/// Gives `count` damaged copies to `read`. Whatever it does, memory must stay within bounds, and
/// `state` must be what it was unless the copy was accepted.
Outcomes survive(const Content& valid, int count, std::uint64_t seed,
                 const std::function<void(const std::string& path)>& read,
                 const std::function<std::vector<double>()>& state) {
  Mutator mutator(valid, header_bytes(valid), seed);
  MemoryFile file;
  Outcomes outcomes;
  const MemoryStats before = memory_stats(Device::cpu);
  for (int i = 0; i < count; ++i) {
    INFO("mutation " << i << " of seed " << seed);
    Content damaged = mutator.next();
    if (i % 2 == 0) repair_length(damaged, valid);
    file.set(damaged);
    const std::vector<double> old = state();
    const MemoryScope memory(Device::cpu);
    try {
      read(file.path());
      ++outcomes.accepted;
    } catch (const Error& error) {
      ++outcomes.refused;
      if (std::strlen(error.what()) == 0) FAIL("an error without a message");
      // Not CHECK: ten thousand times, and a NaN must equal itself.
      const std::vector<double> now = state();
      if (now.size() != old.size() ||
          std::memcmp(now.data(), old.data(), old.size() * sizeof(double)) != 0) {
        FAIL("half loaded: " << error.what());
      }
    }
    if (memory.peak_above_start() > 8 * static_cast<std::int64_t>(valid.size() + damaged.size())) {
      FAIL("it took " << memory.peak_above_start() << " bytes");
    }
  }
  CHECK(memory_stats(Device::cpu).total.live == before.total.live);
  return outcomes;
}

void run_corpus(const std::string& folder, void (*target)(Bytes)) {
  int files = 0;
  for (const fs::directory_entry& entry :
       fs::directory_iterator(std::string(ATTUNE_TEST_DATA_DIR) + "/fuzz/corpus/" + folder)) {
    INFO(entry.path().string());
    target(read_bytes(entry.path()));
    ++files;
  }
  CHECK(files > 0);
}

void run_mutations(const std::vector<Content>& valid, int count, std::size_t head,
                   void (*target)(Bytes)) {
  std::uint64_t seed = 1;
  for (const Content& file : valid) {
    target(file);
    Mutator mutator(file, head, seed++);
    for (int i = 0; i < count; ++i) target(mutator.next());
  }
}

}  // namespace

TEST_CASE("every file of the fuzzers' corpus is read or refused") {
  run_corpus("safetensors", &fuzz_safetensors);
  run_corpus("checkpoint", &fuzz_checkpoint);
  run_corpus("cifar", &fuzz_cifar);
  run_corpus("image", &fuzz_image);
}

TEST_CASE(
    "images that the decoder would overflow on, or refuse without a reason, are refused with one") {
  const auto refusal = [](const std::string& name) {
    const std::string path = std::string(ATTUNE_TEST_DATA_DIR) + "/fuzz/corpus/image/" + name;
    const std::string message = message_of<Error>([&] { read_image(path); });
    return message.substr(message.rfind(": ") + 2);
  };
  CHECK(refusal("too_many_codes.jpg") == "a Huffman table has too many codes");
  CHECK(refusal("deep.pgm") == "a PPM or PGM file of 16 bits is not supported");
  CHECK(refusal("undefined_table.jpg") == "its data are damaged");
  CHECK(refusal("huge_number.pgm") == "a number in its header is too large");
}

TEST_CASE("a JPEG without Huffman tables is read alike, whatever was in memory before") {
  const std::string path = std::string(ATTUNE_TEST_DATA_DIR) + "/fuzz/corpus/image/no_tables.jpg";
  const auto pixels_after = [&](std::uint8_t fill) {
    {
      // Freed here, and likely to be what the decoder is given.
      std::vector<Content> blocks;
      for (std::size_t bytes = 4096; bytes <= 65536; bytes += 512) blocks.emplace_back(bytes, fill);
    }
    return read_image(path).pixels;
  };
  const std::vector<std::uint8_t> pixels = pixels_after(0);
  CHECK(pixels_after(0x20) == pixels);
  CHECK(pixels_after(0xff) == pixels);
}

TEST_CASE("damaged weights are loaded or refused, never by halves") {
  const TemporaryDirectory directory;
  const auto net = small_resnet(1);
  save_weights(*small_resnet(2), directory.path() / "w", {.metadata = {{"key", "value"}}});
  const Outcomes outcomes = survive(
      read_bytes(directory.path() / "w"), 10'000, 1,
      [&](const std::string& path) { load_weights(*net, path, {.replace_head = true}); },
      [&] { return all_values(net->state_dict()); });
  // Damage to elements is not visible; damage to the header nearly always.
  CHECK(outcomes.accepted > 50);
  CHECK(outcomes.refused > 5'000);
}

TEST_CASE(
    "damaged checkpoints are loaded or refused, and an optimizer takes all of one or nothing") {
  const TemporaryDirectory directory;
  const auto net = small_resnet(1), other = small_resnet(2);
  Sgd optimizer(net->parameters(), {.lr = 0.1, .momentum = 0.9});
  Sgd writer(other->parameters(), {.lr = 0.1, .momentum = 0.9});
  for (Tensor& parameter : other->parameters()) parameter.set_grad(parameter.clone());
  for (Tensor& parameter : net->parameters()) parameter.set_grad(parameter.clone());
  writer.step();
  optimizer.step();
  save_checkpoint(directory.path() / "c",
                  {.model = other->state_dict(), .optimizer = writer.state(), .run = "{}"});
  const Outcomes outcomes = survive(
      read_bytes(directory.path() / "c"), 2'000, 2,
      [&](const std::string& path) { optimizer.load_state(load_checkpoint(path).optimizer); },
      [&] { return all_values(optimizer.state()); });
  CHECK(outcomes.accepted > 10);
  CHECK(outcomes.refused > 1'000);
}

TEST_CASE("damaged files of every dtype are read or refused") {
  const Content file = read_bytes(std::string(ATTUNE_TEST_DATA_DIR) + "/golden/dtypes.safetensors");
  run_mutations({file}, 10'000, header_bytes(file), &fuzz_safetensors);
}

TEST_CASE("damaged CIFAR files are read or refused") {
  Content ten = bytes_of("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n");
  ten.push_back(0);
  for (const std::uint8_t label : {3, 9}) {
    ten.push_back(label);
    ten.insert(ten.end(), 3072, label);
  }
  run_mutations({ten}, 2'000, ten.size(), &fuzz_cifar);
}

TEST_CASE("damaged images are read or refused") {
  const ByteImage image = make_image(9, 13, 3, 1);
  const Content ppm = bytes_of("P6 4 2 255\n" + std::string(24, '\x40'));
  const std::vector<Content> files{bytes_of(encode_png(image)), bytes_of(encode_jpeg(image)),
                                   bytes_of(encode_bmp(image)), ppm};
  run_mutations(files, 2'500, 256, &fuzz_image);
}
