# ATTUNE_CUDA: where the sources of kernels/cuda come from and who compiles them.
#   OFF       nobody; kernels/cuda/no_cuda.cpp says so when it is called
#   ON        nvcc
#   EMULATED  the C++ compiler, with tests/emulation in the place of the CUDA toolkit: Device::cuda
#             then exists on every machine, runs on its processors, slowly, and checks the kernels

set(ATTUNE_CUDA OFF CACHE STRING "OFF, ON, or EMULATED: CUDA kernels executed on the CPU, for tests")
set_property(CACHE ATTUNE_CUDA PROPERTY STRINGS OFF ON EMULATED)

if(ATTUNE_CUDA STREQUAL "EMULATED")
  set(ATTUNE_CUDA_BACKEND emulated)
  set(ATTUNE_CUDA_INCLUDE_DIRS "${PROJECT_SOURCE_DIR}/tests/emulation")  # <cuda_runtime.h>
elseif(ATTUNE_CUDA)
  set(ATTUNE_CUDA_BACKEND nvcc)
else()
  set(ATTUNE_CUDA_BACKEND none)
endif()

if(ATTUNE_CUDA_BACKEND STREQUAL "nvcc")
  # tf32 needs sm_80. Set before enable_language(), which otherwise chooses.
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80 86 89 90 CACHE STRING "GPU architectures to compile for")
  endif()
  if(NOT DEFINED CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    find_program(ATTUNE_NVCC nvcc PATHS /usr/local/cuda/bin)
    if(ATTUNE_NVCC)
      set(CMAKE_CUDA_COMPILER "${ATTUNE_NVCC}")
    endif()
  endif()
  include(CheckLanguage)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    message(FATAL_ERROR
      "attune: ATTUNE_CUDA=ON needs nvcc, which is neither in PATH nor in /usr/local/cuda/bin; "
      "CUDACXX=<path of nvcc> names another place, ATTUNE_CUDA=OFF builds without GPU support")
  endif()
  enable_language(CUDA)
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.5)
    message(FATAL_ERROR
      "attune: nvcc ${CMAKE_CUDA_COMPILER_VERSION} is too old, 12.5 or newer is needed")
  endif()
  find_package(CUDAToolkit REQUIRED)
  set(ATTUNE_CUDA_INCLUDE_DIRS "${CUDAToolkit_INCLUDE_DIRS}")
endif()

# The version by hand: CMake 3.25 does not know that nvcc has C++20. Registers that do not suffice
# cost more than any warning is worth: they fail the build.
set(ATTUNE_NVCC_OPTIONS -std=c++20 --expt-relaxed-constexpr --extended-lambda
  -Xptxas=-warn-spills,-Werror -Xcompiler=-Wall,-Wextra)

# attune_cuda_sources(<a.cu> ...): adds CUDA sources to the library.
function(attune_cuda_sources)
  target_sources(attune PRIVATE ${ARGN})
  if(ATTUNE_CUDA_BACKEND STREQUAL "emulated")
    set_source_files_properties(${ARGN} TARGET_DIRECTORY attune PROPERTIES
      LANGUAGE CXX COMPILE_OPTIONS -Wno-unknown-pragmas)
  else()
    set_source_files_properties(${ARGN} TARGET_DIRECTORY attune PROPERTIES
      COMPILE_OPTIONS "${ATTUNE_NVCC_OPTIONS}")
  endif()
endfunction()
