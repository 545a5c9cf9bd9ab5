# Configures, builds and runs the consumer project WAY in WORK_DIR. Called by CTest, see
# CMakeLists.txt for the variables.
cmake_minimum_required(VERSION 3.25)

# Runs a command and stops with its output if it fails.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\nfailed (${result}):\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE "${WORK_DIR}")
set(build_dir "${WORK_DIR}/build")
set(options
  -G "${GENERATOR}"
  -D CMAKE_CXX_COMPILER=${CXX_COMPILER}
  -D CMAKE_CXX_COMPILER_LAUNCHER=${CXX_COMPILER_LAUNCHER})
set(target consumer)

if(WAY STREQUAL find_package)
  # Moved after installation, and with none of the packages that attune itself was built with.
  run(${CMAKE_COMMAND} --install "${ATTUNE_BINARY_DIR}" --config "${CONFIG}"
    --component attune_development --prefix "${WORK_DIR}/first")
  file(RENAME "${WORK_DIR}/first" "${WORK_DIR}/prefix")
  list(APPEND options -D "CMAKE_PREFIX_PATH=${WORK_DIR}/prefix" -D CMAKE_BUILD_TYPE=Release)
  foreach(package IN ITEMS Eigen3 fmt nlohmann_json stb CLI11 Catch2 benchmark)
    list(APPEND options -D CMAKE_DISABLE_FIND_PACKAGE_${package}=ON)
  endforeach()
else()
  # The library has to be compiled again here: without optimisation, that is quick.
  list(APPEND options -D "ATTUNE_SOURCE_DIR=${ATTUNE_SOURCE_DIR}" -D CMAKE_BUILD_TYPE=Debug
    -D CMAKE_CXX_FLAGS_DEBUG=-O0)
endif()
run(${CMAKE_COMMAND} -S "${CMAKE_CURRENT_LIST_DIR}/${WAY}" -B "${build_dir}" ${options})

if(WAY STREQUAL fetch_content AND GENERATOR STREQUAL "Ninja")
  # FetchContent ends in add_subdirectory, whose test has compiled the library already.
  run(${CMAKE_COMMAND} --build "${build_dir}" --target CMakeFiles/consumer.dir/main.cpp.o)
else()
  run(${CMAKE_COMMAND} --build "${build_dir}" --config Release --parallel --target consumer)
  run("${build_dir}/consumer")
  message("${output}")
endif()
