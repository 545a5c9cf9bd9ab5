#include "attune/layers/construct_on.h"

namespace attune {
namespace {

thread_local std::optional<Device> current;

}  // namespace

ConstructOn::ConstructOn(Device device) : outer_(current) { current = device; }
ConstructOn::~ConstructOn() { current = outer_; }

std::optional<Device> ConstructOn::device() { return current; }

}  // namespace attune
