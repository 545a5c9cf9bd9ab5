# Every third-party package. Installed ones are taken first; what is missing is downloaded as a
# release archive with a known hash; without a network the error names the Debian package.

include(FetchContent)

# Makes NAME's archive available through FetchContent, whose variables (FETCHCONTENT_SOURCE_DIR_<NAME>
# for a copy of one's own, FETCHCONTENT_FULLY_DISCONNECTED) work as usual. Further arguments go to
# FetchContent_Declare. Downloads by itself, because FetchContent's own errors name no remedy.
function(attune_fetch name debian_package url sha256)
  string(TOUPPER "${name}" upper_name)
  get_filename_component(archive "${url}" NAME)
  set(archive "${FETCHCONTENT_BASE_DIR}/${name}-${archive}")
  if(NOT FETCHCONTENT_SOURCE_DIR_${upper_name} AND NOT EXISTS "${archive}")
    set(status "1;downloads are off (FETCHCONTENT_FULLY_DISCONNECTED)")
    if(NOT FETCHCONTENT_FULLY_DISCONNECTED)
      message(STATUS "attune: ${name} is not installed, downloading ${url}")
      file(DOWNLOAD "${url}" "${archive}" STATUS status)
    endif()
    list(POP_FRONT status code)
    if(code)
      file(REMOVE "${archive}")
      message(FATAL_ERROR
        "attune needs ${name}, which is neither installed nor could be downloaded (${status}).\n"
        "Debian and Ubuntu: apt install ${debian_package} (scripts/bootstrap installs everything)")
    endif()
  endif()
  FetchContent_Declare(${name} URL "${archive}" URL_HASH SHA256=${sha256}
    DOWNLOAD_EXTRACT_TIMESTAMP ON SYSTEM ${ARGN})
  FetchContent_MakeAvailable(${name})
endfunction()

# attune_header_library(<name> TARGET <target> DEBIAN <package> URL <url> SHA256 <hash>
#                       [INCLUDE_DIR <dir>] [DEFINITION <macro>])
# A header-only package. Of an archive only the headers in INCLUDE_DIR are used, never its build
# files: those would add their own tests and install rules to ours.
function(attune_header_library name)
  cmake_parse_arguments(
    PARSE_ARGV 1 arg "" "TARGET;DEBIAN;URL;SHA256;INCLUDE_DIR;DEFINITION" "")
  if(NOT TARGET ${arg_TARGET})
    find_package(${name} QUIET)
  endif()
  if(NOT TARGET ${arg_TARGET})
    attune_fetch(${name} ${arg_DEBIAN} ${arg_URL} ${arg_SHA256} SOURCE_SUBDIR no-build-files)
    FetchContent_GetProperties(${name} SOURCE_DIR source_dir)
    add_library(${arg_TARGET} INTERFACE IMPORTED GLOBAL)
    target_include_directories(${arg_TARGET} INTERFACE "${source_dir}/${arg_INCLUDE_DIR}")
    target_compile_definitions(${arg_TARGET} INTERFACE ${arg_DEFINITION})
  endif()
endfunction()

find_package(Threads REQUIRED)
find_package(OpenMP QUIET COMPONENTS CXX)
if(NOT OpenMP_CXX_FOUND)
  message(FATAL_ERROR
    "attune needs OpenMP, which ${CMAKE_CXX_COMPILER} does not offer.\n"
    "GCC brings it along; for Clang on Debian and Ubuntu: apt install libomp-dev")
endif()

# Found without a version: a request for 3.4 rejects Eigen 5, and one for 3.4...5 rejects 3.4.0.
find_package(Eigen3 QUIET)
if(Eigen3_VERSION AND (Eigen3_VERSION VERSION_LESS 3.4 OR Eigen3_VERSION VERSION_GREATER_EQUAL 6))
  message(FATAL_ERROR "attune needs Eigen 3.4 or 5, but found ${Eigen3_VERSION} in ${Eigen3_DIR}")
endif()
attune_header_library(Eigen3
  TARGET Eigen3::Eigen
  DEBIAN libeigen3-dev
  URL https://gitlab.com/libeigen/eigen/-/archive/3.4.0/eigen-3.4.0.tar.bz2
  SHA256 b4c198460eba6f28d34894e3a5710998818515104d6e74e5cc331ce31e46e626)

attune_header_library(fmt
  TARGET fmt::fmt-header-only
  DEBIAN libfmt-dev
  URL https://github.com/fmtlib/fmt/releases/download/9.1.0/fmt-9.1.0.zip
  SHA256 cceb4cb9366e18a5742128cb3524ce5f50e88b476f1e54737a47ffdf4df4c996
  INCLUDE_DIR include
  DEFINITION FMT_HEADER_ONLY=1)

attune_header_library(nlohmann_json
  TARGET nlohmann_json::nlohmann_json
  DEBIAN nlohmann-json3-dev
  URL https://github.com/nlohmann/json/releases/download/v3.11.2/json.tar.xz
  SHA256 8c4b26bf4b422252e13f332bc5e388ec0ab5c3443d24399acb675e68278d341f
  INCLUDE_DIR include)

attune_header_library(stb
  TARGET stb::stb
  DEBIAN libstb-dev
  URL https://github.com/nothings/stb/archive/8b5f1f37b5b75829fc72d38e7b5d4bcbf8a26d55.zip
  SHA256 93a16ee3e866e719feec459f6f132cce932c5ec751eb38e3ec1975f911353d2e)

if(ATTUNE_BUILD_EXAMPLES OR ATTUNE_BUILD_BENCHMARKS)
  attune_header_library(CLI11
    TARGET CLI11::CLI11
    DEBIAN libcli11-dev
    URL https://github.com/CLIUtils/CLI11/archive/v2.1.2.tar.gz
    SHA256 26291377e892ba0e5b4972cdfd4a2ab3bf53af8dac1f4ea8fe0d1376b625c8cb
    INCLUDE_DIR include)
  # The programs link fmt compiled, which the Debian package brings along.
  if(NOT TARGET fmt::fmt)
    FetchContent_GetProperties(fmt SOURCE_DIR source_dir)
    add_library(attune_fmt STATIC "${source_dir}/src/format.cc")
    target_include_directories(attune_fmt SYSTEM PUBLIC "${source_dir}/include")
    add_library(fmt::fmt ALIAS attune_fmt)
  endif()
endif()

if(ATTUNE_BUILD_TESTS)
  find_package(Catch2 3 CONFIG QUIET)
  if(NOT Catch2_FOUND)
    find_package(Catch2 2.13 CONFIG QUIET)  # Debian 12
  endif()
  if(NOT TARGET Catch2::Catch2WithMain)
    attune_fetch(Catch2 catch2
      https://github.com/catchorg/Catch2/archive/v3.6.0.tar.gz
      485932259a75c7c6b72d4b874242c489ea5155d17efa345eb8cc72159f49f356)
    FetchContent_GetProperties(Catch2 SOURCE_DIR source_dir)
    list(APPEND CMAKE_MODULE_PATH "${source_dir}/extras")
  endif()
endif()

if(ATTUNE_BUILD_BENCHMARKS AND EXISTS "${PROJECT_SOURCE_DIR}/benchmarks/CMakeLists.txt")
  find_package(benchmark CONFIG QUIET)
  if(NOT TARGET benchmark::benchmark)
    set(BENCHMARK_ENABLE_TESTING OFF)
    set(BENCHMARK_ENABLE_INSTALL OFF)
    attune_fetch(benchmark libbenchmark-dev
      https://github.com/google/benchmark/archive/refs/tags/v1.7.1.tar.gz
      6430e4092653380d9dc4ccb45a1e2dc9259d581f4866dc0759713126056bc1d7)
  endif()
endif()
