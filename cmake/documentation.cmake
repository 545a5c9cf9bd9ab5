# The API pages: target docs, from the public headers. A warning of Doxygen is an error.

find_package(Doxygen 1.9.4)
if(NOT DOXYGEN_FOUND)
  message(FATAL_ERROR "attune: the API pages need Doxygen 1.9.4 or newer (Debian: apt install doxygen)")
endif()

set(DOXYGEN_PROJECT_NAME attune)
set(DOXYGEN_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/docs")
set(DOXYGEN_USE_MDFILE_AS_MAINPAGE "${PROJECT_SOURCE_DIR}/docs/api.md")
set(DOXYGEN_STRIP_FROM_PATH "${PROJECT_SOURCE_DIR}")
set(DOXYGEN_WARN_AS_ERROR FAIL_ON_WARNINGS)
set(DOXYGEN_QUIET YES)
# As the headers are written: the first sentence is the summary, what explains itself has no text,
# and the order of declarations is that of the explanation.
set(DOXYGEN_JAVADOC_AUTOBRIEF YES)
set(DOXYGEN_EXTRACT_ALL YES)
set(DOXYGEN_SORT_MEMBER_DOCS NO)
set(DOXYGEN_HIDE_UNDOC_RELATIONS YES)
# A file's path here is not how it is included; docs/api.md says how.
set(DOXYGEN_SHOW_HEADERFILE NO)
set(DOXYGEN_SHOW_INCLUDE_FILES NO)
set(DOXYGEN_HAVE_DOT NO)
set(DOXYGEN_GENERATE_TREEVIEW YES)

get_property(headers GLOBAL PROPERTY ATTUNE_PUBLIC_HEADERS)
list(REMOVE_ITEM headers attune/attune.h attune/version.h)  # generated, and without contracts
list(TRANSFORM headers REPLACE "^attune/" "${PROJECT_SOURCE_DIR}/")
doxygen_add_docs(docs ${headers} "${PROJECT_SOURCE_DIR}/docs/api.md"
  COMMENT "API pages: ${PROJECT_BINARY_DIR}/docs/html/index.html")
