# Headers are included as "attune/<room>/<header>.h" wherever attune is used: in this tree, through
# add_subdirectory, and installed. In the build tree that spelling works through one-line
# forwarding headers, so that editing a header needs no copy; install copies the real ones.

set(ATTUNE_PUBLIC_INCLUDE_DIR "${PROJECT_BINARY_DIR}/include")
set(ATTUNE_PRIVATE_INCLUDE_DIR "${PROJECT_BINARY_DIR}/private_include")

# Writes the forwarding header of HEADER, a path relative to the calling room, below INCLUDE_DIR.
function(attune_forward_header include_dir header)
  set(source "${CMAKE_CURRENT_SOURCE_DIR}/${header}")
  if(NOT EXISTS "${source}")
    message(FATAL_ERROR "attune: no such header: ${source}")
  endif()
  file(RELATIVE_PATH path "${PROJECT_SOURCE_DIR}" "${source}")
  file(CONFIGURE OUTPUT "${include_dir}/attune/${path}" CONTENT "#include \"${source}\"\n" @ONLY)
endfunction()

# attune_public_headers(a.h ops/b.h ...): what users of the library may include.
function(attune_public_headers)
  foreach(header IN LISTS ARGN)
    attune_forward_header("${ATTUNE_PUBLIC_INCLUDE_DIR}" ${header})
    file(RELATIVE_PATH path "${PROJECT_SOURCE_DIR}" "${CMAKE_CURRENT_SOURCE_DIR}/${header}")
    set_property(GLOBAL APPEND PROPERTY ATTUNE_PUBLIC_HEADERS ${path})
  endforeach()
endfunction()

# attune_private_headers(reference/a.h ...): for the library's own sources and its tests only.
function(attune_private_headers)
  foreach(header IN LISTS ARGN)
    attune_forward_header("${ATTUNE_PRIVATE_INCLUDE_DIR}" ${header})
  endforeach()
endfunction()
