#include <atomic>
#include <cstdlib>

#include "attune/kernels/cpu/conv2d_table.h"
#include "attune/kernels/cpu_isa.h"
#include "attune/kernels/error.h"

namespace attune {
namespace kernels::cpu {

// What kernels/CMakeLists.txt compiles kernels/cpu/simd/ for.
#if defined(__x86_64__)
namespace x86_64_v2 {
extern const Conv2dTable kTable;
}
namespace x86_64_v3 {
extern const Conv2dTable kTable;
}
namespace x86_64_v4 {
extern const Conv2dTable kTable;
}
#else
namespace generic {
extern const Conv2dTable kTable;
}
#endif

namespace {

struct Isa {
  const char* name;
  const Conv2dTable* table;
};

// Slowest first. The slowest is what the compiler may assume of any machine.
std::vector<Isa> available() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  std::vector<Isa> isas{{"x86-64-v2", &x86_64_v2::kTable}};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("bmi2")) {
    isas.push_back({"x86-64-v3", &x86_64_v3::kTable});
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
      isas.push_back({"x86-64-v4", &x86_64_v4::kTable});
    }
  }
  return isas;
#else
  return {{"generic", &generic::kTable}};
#endif
}

const std::vector<Isa>& isas() {
  static const std::vector<Isa> all = available();
  return all;
}

const Isa& find(const char* op, const std::string& name) {
  std::string names;
  for (const Isa& isa : isas()) {
    if (isa.name == name) return isa;
    names += std::string(names.empty() ? "" : ", ") + isa.name;
  }
  throw Error(std::string(op) + ": this machine runs " + names + ", not '" + name + "'");
}

std::atomic<const Isa*>& current() {
  static std::atomic<const Isa*> isa = [] {
    const char* wanted = std::getenv("ATTUNE_CPU_ISA");
    return wanted && *wanted ? &find("ATTUNE_CPU_ISA", wanted) : &isas().back();
  }();
  return isa;
}

}  // namespace

const Conv2dTable& conv2d_table() { return *current().load()->table; }

}  // namespace kernels::cpu

std::vector<std::string> available_cpu_isas() {
  std::vector<std::string> names;
  for (const kernels::cpu::Isa& isa : kernels::cpu::isas()) names.emplace_back(isa.name);
  return names;
}

std::string cpu_isa() { return kernels::cpu::current().load()->name; }

void set_cpu_isa(const std::string& name) {
  kernels::cpu::current() = &kernels::cpu::find("set_cpu_isa", name);
}

}  // namespace attune
