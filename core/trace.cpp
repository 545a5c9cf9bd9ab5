#include "attune/core/trace.h"

#include <utility>

#include "attune/core/autograd.h"

namespace attune {
namespace {

thread_local TraceScope* innermost = nullptr;

}  // namespace

TraceScope::TraceScope() : outer_(std::exchange(innermost, this)) {}

TraceScope::~TraceScope() { innermost = outer_; }

TraceScope* TraceScope::current() { return innermost; }

void TraceScope::add(TracedOp op) {
  op.label = LabelScope::current();
  ops_.push_back(std::move(op));
}

}  // namespace attune
