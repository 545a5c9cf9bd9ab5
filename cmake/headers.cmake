# Headers are included as "attune/<room>/<header>.h" wherever attune is used: in this tree, through
# add_subdirectory, and installed. In the build tree one-line forwarding headers make that spelling
# work, so that every header exists once and compiler messages name the real file; install copies
# the real ones.

include(GNUInstallDirs)

set(ATTUNE_PUBLIC_INCLUDE_DIR "${PROJECT_BINARY_DIR}/include")
set(ATTUNE_PRIVATE_INCLUDE_DIR "${PROJECT_BINARY_DIR}/private_include")

# Writes HEADER's forwarding header below INCLUDE_DIR and sets PATH_VARIABLE to "<room>/<header>.h".
function(attune_forward_header header include_dir path_variable)
  cmake_path(ABSOLUTE_PATH header BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" OUTPUT_VARIABLE source)
  if(NOT EXISTS "${source}")
    message(FATAL_ERROR "attune: no such header: ${source}")
  endif()
  cmake_path(RELATIVE_PATH source BASE_DIRECTORY "${PROJECT_SOURCE_DIR}" OUTPUT_VARIABLE path)
  file(CONFIGURE OUTPUT "${include_dir}/attune/${path}" CONTENT "#include \"${source}\"\n" @ONLY)
  set(${path_variable} "${path}" PARENT_SCOPE)
endfunction()

# attune_public_headers(a.h ops/b.h ...): what users of the library may include; installed. Paths
# are relative to the calling room.
function(attune_public_headers)
  foreach(header IN LISTS ARGN)
    attune_forward_header(${header} "${ATTUNE_PUBLIC_INCLUDE_DIR}" path)
    set_property(GLOBAL APPEND PROPERTY ATTUNE_PUBLIC_HEADERS attune/${path})
    if(ATTUNE_INSTALL)
      cmake_path(GET path PARENT_PATH directory)
      install(FILES ${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/attune/${directory}
        COMPONENT attune_development)
    endif()
  endforeach()
endfunction()

# attune_private_headers(reference/a.h ...): for the library's own sources and its tests.
function(attune_private_headers)
  foreach(header IN LISTS ARGN)
    attune_forward_header(${header} "${ATTUNE_PRIVATE_INCLUDE_DIR}" path)
  endforeach()
endfunction()

# Writes <attune/version.h> and <attune/attune.h>. The latter includes all public headers but those
# of kernels/, which work on raw pointers and are of interest only to somebody who writes an op.
function(attune_generate_headers)
  set(directory "${ATTUNE_PUBLIC_INCLUDE_DIR}/attune")
  configure_file("${PROJECT_SOURCE_DIR}/cmake/version.h.in" "${directory}/version.h" @ONLY)
  set_property(GLOBAL APPEND PROPERTY ATTUNE_PUBLIC_HEADERS attune/version.h)

  get_property(headers GLOBAL PROPERTY ATTUNE_PUBLIC_HEADERS)
  list(FILTER headers EXCLUDE REGEX "^attune/kernels/")
  list(SORT headers)
  list(TRANSFORM headers REPLACE "(.+)" "#include \"\\1\"" OUTPUT_VARIABLE includes)
  list(JOIN includes "\n" ATTUNE_INCLUDES)
  configure_file("${PROJECT_SOURCE_DIR}/cmake/attune.h.in" "${directory}/attune.h" @ONLY)
  set_property(GLOBAL APPEND PROPERTY ATTUNE_PUBLIC_HEADERS attune/attune.h)

  if(ATTUNE_INSTALL)
    install(FILES "${directory}/version.h" "${directory}/attune.h"
      DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/attune COMPONENT attune_development)
  endif()
endfunction()
