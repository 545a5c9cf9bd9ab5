#pragma once

#include <string>
#include <vector>

namespace attune {

/// Instruction sets that the convolution kernels were compiled for and that this machine has, the
/// fastest last: on x86 some of "x86-64-v2" (SSE 4.2), "x86-64-v3" (AVX2, FMA) and "x86-64-v4"
/// (AVX-512); "generic" elsewhere. Each gives the same results for any number of threads, but not
/// the same as another: they add up in different orders.
std::vector<std::string> available_cpu_isas();

/// The one in use: what the environment variable ATTUNE_CPU_ISA names, else the fastest.
std::string cpu_isa();

/// Uses `name` from now on. Throws Error if it is not among available_cpu_isas().
void set_cpu_isa(const std::string& name);

}  // namespace attune
