# Finds the single-file libraries stb_image.h and stb_image_write.h (Debian: libstb-dev), which come
# without a CMake package. Defines stb::stb; they are then included as <stb_image.h>.

find_path(stb_INCLUDE_DIR
  NAMES stb_image.h
  PATH_SUFFIXES stb
  DOC "Directory of stb_image.h and stb_image_write.h")

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(stb REQUIRED_VARS stb_INCLUDE_DIR)
mark_as_advanced(stb_INCLUDE_DIR)

if(stb_FOUND AND NOT TARGET stb::stb)
  add_library(stb::stb INTERFACE IMPORTED)
  target_include_directories(stb::stb INTERFACE "${stb_INCLUDE_DIR}")
endif()
