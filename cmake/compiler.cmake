# What every target of the project is compiled with. All of it is private: linking attune must not
# change how anybody else's code is compiled.

include(CheckCXXCompilerFlag)

# Without a build type CMake compiles without optimisation, some fifty times slower here.
if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Build type" FORCE)
endif()

# A sanitizer has to see all code of a program, so these flags are for the whole tree.
if(ATTUNE_SANITIZE)
  string(REPLACE ";" "," attune_sanitizers "${ATTUNE_SANITIZE}")
  add_compile_options(-fsanitize=${attune_sanitizers} -fno-omit-frame-pointer
                      -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${attune_sanitizers})
endif()

# The instruction set of kernels/cpu: kernels/CMakeLists.txt applies ATTUNE_CPU_ARCH_FLAGS to those
# sources and to nothing else. Templates make this delicate: if two files instantiate the same one
# with different flags, the linker keeps either copy. Hence only kernels/cpu/ may include Eigen.
set(attune_default_arch "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  check_cxx_compiler_flag(-march=x86-64-v3 ATTUNE_HAVE_X86_64_V3)
  if(ATTUNE_HAVE_X86_64_V3)
    set(attune_default_arch x86-64-v3)
  endif()
endif()
set(ATTUNE_CPU_ARCH "${attune_default_arch}" CACHE STRING
    "-march of kernels/cpu; x86-64-v3 is AVX2 and FMA; empty: the compiler's default")
if(ATTUNE_NATIVE)
  set(ATTUNE_CPU_ARCH_FLAGS -march=native)
elseif(ATTUNE_CPU_ARCH)
  set(ATTUNE_CPU_ARCH_FLAGS -march=${ATTUNE_CPU_ARCH})
else()
  set(ATTUNE_CPU_ARCH_FLAGS "")
endif()

# attune_target_defaults(target): language level and warnings.
function(attune_target_defaults target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wold-style-cast
    $<$<BOOL:${ATTUNE_WERROR}>:-Werror>)
endfunction()
