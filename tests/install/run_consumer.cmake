# Configures, builds and runs the consumer project WAY in WORK_DIR. CTest calls this; CMakeLists.txt
# sets the variables.
cmake_minimum_required(VERSION 3.25)

# Runs a command, leaves what it prints in `output`, and stops with that if it fails.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\nfailed (${result}):\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE "${WORK_DIR}")
file(COPY "${CMAKE_CURRENT_LIST_DIR}/${WAY}/CMakeLists.txt" "${CMAKE_CURRENT_LIST_DIR}/main.cpp"
  DESTINATION "${WORK_DIR}/source")
set(build_dir "${WORK_DIR}/build")
set(options
  -G "${GENERATOR}"
  -D CMAKE_CXX_COMPILER=${CXX_COMPILER}
  -D CMAKE_CXX_COMPILER_LAUNCHER=${CXX_COMPILER_LAUNCHER})

if(WAY STREQUAL "find_package")
  # Moved after its installation, and without any of the packages that attune was built with.
  run(${CMAKE_COMMAND} --install "${ATTUNE_BINARY_DIR}" --config "${CONFIG}" --prefix "${WORK_DIR}/first")
  file(RENAME "${WORK_DIR}/first" "${WORK_DIR}/prefix")
  if(PROGRAMS)
    run("${WORK_DIR}/prefix/bin/summary" --net resnet20)
  endif()
  list(APPEND options -D "CMAKE_PREFIX_PATH=${WORK_DIR}/prefix" -D CMAKE_BUILD_TYPE=Release)
  foreach(package IN ITEMS Eigen3 fmt nlohmann_json stb CLI11 Catch2 benchmark)
    list(APPEND options -D CMAKE_DISABLE_FIND_PACKAGE_${package}=ON)
  endforeach()
else()
  # The library is compiled again here: without optimisation, because that is quick.
  list(APPEND options -D "ATTUNE_SOURCE_DIR=${ATTUNE_SOURCE_DIR}" -D CMAKE_BUILD_TYPE=Debug
    -D CMAKE_CXX_FLAGS_DEBUG=-O0)
endif()
run(${CMAKE_COMMAND} -S "${WORK_DIR}/source" -B "${build_dir}" ${options})

if(WAY STREQUAL "fetch_content" AND GENERATOR STREQUAL "Ninja")
  # It ends in add_subdirectory, whose test links and runs; here the consumer only has to compile.
  run(${CMAKE_COMMAND} --build "${build_dir}" --target CMakeFiles/consumer.dir/main.cpp.o)
else()
  run(${CMAKE_COMMAND} --build "${build_dir}" --config Release --parallel --target consumer)
  run("${build_dir}/consumer")
  message("${output}")
endif()
