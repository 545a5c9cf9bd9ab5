#pragma once

// The one way to include Catch2: version 3 has many headers, version 2 (Debian 12) a single one.
// Tests keep to what both spell alike: TEST_CASE, SECTION, REQUIRE, CHECK, REQUIRE_THROWS_AS, INFO.
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif
