# cmake --install: the library, its headers (see headers.cmake), the licence and a package for
# find_package(attune); examples/ adds the programs. The package needs only OpenMP and Threads, and
# with CUDA its toolkit.

include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/attune)

install(FILES "${PROJECT_SOURCE_DIR}/LICENSE"
  DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT attune_development)
install(TARGETS attune
  EXPORT attune-targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT attune_development)
install(EXPORT attune-targets
  NAMESPACE attune::
  DESTINATION ${package_dir} COMPONENT attune_development)

configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/attune-config.cmake.in"
  "${PROJECT_BINARY_DIR}/attune-config.cmake"
  INSTALL_DESTINATION ${package_dir})
# While the major version is 0, a new minor version may break what uses it.
write_basic_package_version_file(
  "${PROJECT_BINARY_DIR}/attune-config-version.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES
  "${PROJECT_BINARY_DIR}/attune-config.cmake"
  "${PROJECT_BINARY_DIR}/attune-config-version.cmake"
  DESTINATION ${package_dir} COMPONENT attune_development)
