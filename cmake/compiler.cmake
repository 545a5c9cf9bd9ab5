# What the project's own targets are compiled with. All of it is private: linking attune changes
# nothing about how somebody else's code is compiled, except that it asks for C++20.

include(CheckCXXCompilerFlag)

if(PROJECT_IS_TOP_LEVEL)
  # Without a build type CMake compiles without optimisation.
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Debug, RelWithDebInfo or Release" FORCE)
  endif()
  find_program(CCACHE_PROGRAM ccache)
  if(CCACHE_PROGRAM AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
  endif()
endif()

# A sanitizer has to see all code of a program, so its flags are for the whole tree.
if(ATTUNE_SANITIZE)
  string(REPLACE ";" "," sanitizers "${ATTUNE_SANITIZE}")
  add_compile_options(
    -fsanitize=${sanitizers} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${sanitizers})
endif()

# The instruction set of kernels/cpu; kernels/CMakeLists.txt gives ATTUNE_CPU_ARCH_FLAGS to those
# sources and to no others. Of a template that several files instantiate the linker keeps any one
# copy, so if one of those files is compiled for more than the rest, the wrong copy may win: hence
# only kernels/cpu/ includes Eigen.
set(default_arch "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64)$")
  check_cxx_compiler_flag(-march=x86-64-v3 ATTUNE_HAVE_X86_64_V3)
  if(ATTUNE_HAVE_X86_64_V3)
    set(default_arch x86-64-v3)
  endif()
endif()
set(ATTUNE_CPU_ARCH "${default_arch}" CACHE STRING
  "-march of kernels/cpu (x86-64-v3: AVX2 and FMA); empty for the compiler's default")
set(ATTUNE_CPU_ARCH_FLAGS "")
if(ATTUNE_NATIVE)
  set(ATTUNE_CPU_ARCH_FLAGS -march=native)
elseif(ATTUNE_CPU_ARCH)
  set(ATTUNE_CPU_ARCH_FLAGS -march=${ATTUNE_CPU_ARCH})
endif()

# attune_target_defaults(<target>): language level and warnings. GCC 12 sees overlapping copies in
# "text" + std::string where there are none (GCC bug 105651).
function(attune_target_defaults target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
  set(warnings -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
    -Wold-style-cast $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict> $<$<BOOL:${ATTUNE_WERROR}>:-Werror>)
  target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:${warnings}>")
endfunction()
