// What fmt's headers only declare. Compiled here, once, it costs seconds less in every file that
// formats a message than fmt's header-only mode, and installed attune still needs no libfmt.
#include <fmt/format-inl.h>
