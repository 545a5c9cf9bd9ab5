#include "attune/core/profile.h"

#include <algorithm>

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/graph_report.h"

namespace attune {
namespace {

using std::chrono::nanoseconds;

thread_local ProfileScope* innermost = nullptr;
thread_local OpTimer* running = nullptr;

double to_milliseconds(nanoseconds time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

}  // namespace

double ProfilePass::milliseconds() const { return to_milliseconds(time); }

double ProfilePass::gigaflops_per_second() const {
  if (flops == 0 || time.count() == 0) return 0;
  return static_cast<double>(flops) / static_cast<double>(time.count());  // 1e9 / s = 1 / ns
}

ProfilePass& ProfilePass::operator+=(const ProfilePass& other) {
  calls += other.calls;
  time += other.time;
  flops += other.flops;
  return *this;
}

// ---- Profile ----

ProfileRow& Profile::row(std::string_view label, std::string_view op) {
  std::string key(label);
  key += '\n';
  key += op;
  const auto [found, is_new] = index_.try_emplace(std::move(key), rows_.size());
  if (is_new) rows_.push_back({.label = std::string(label), .op = std::string(op)});
  return rows_[found->second];
}

nanoseconds Profile::other_time() const {
  nanoseconds rest = time_;
  for (const ProfileRow& row : rows_) rest -= row.time();
  return rest;
}

// ---- ProfileScope ----

ProfileScope::ProfileScope(Profile& profile)
    : profile_(profile), outer_(innermost), counted_(Clock::now()) {
  for (const ProfileScope* scope = outer_; scope; scope = scope->outer_) {
    if (&scope->profile_ == &profile) {
      throw Error("ProfileScope: a scope around this one records into the same Profile");
    }
  }
  innermost = this;
}

ProfileScope::~ProfileScope() {
  add_time_until(Clock::now());
  innermost = outer_;
}

// Called after every operation too, so that a profile adds up while its scope is still open.
void ProfileScope::add_time_until(Clock::time_point now) {
  profile_.time_ += now - counted_;
  counted_ = now;
}

// ---- OpTimer ----

OpTimer::OpTimer(std::string_view op) : pass_(&ProfileRow::forward) {
  if (innermost) begin(LabelScope::current(), op);
}

OpTimer::OpTimer(const Node& node) : pass_(&ProfileRow::backward) {
  if (innermost) begin(node.label(), node.name());
}

namespace {

// A GPU's work is done later than the function returns that asked for it. What goes wrong there is
// for whoever uses it next to say.
void wait_for_device() noexcept {
  try {
    synchronize(DefaultDevice::current());
  } catch (const Error&) {
  }
}

}  // namespace

// Finds the rows now: it may need memory, and a destructor must not fail.
void OpTimer::begin(std::string_view label, std::string_view op) {
  if (running) return;
  for (ProfileScope* scope = innermost; scope; scope = scope->outer_) {
    scope->row_ = &scope->row(label, op);
  }
  running = this;
  is_running_ = true;
  wait_for_device();
  start_ = ProfileScope::Clock::now();
}

OpTimer::~OpTimer() {
  if (!is_running_) return;
  running = nullptr;
  wait_for_device();
  const auto now = ProfileScope::Clock::now();
  for (ProfileScope* scope = innermost; scope; scope = scope->outer_) {
    if (!scope->row_) continue;  // began within this operation
    scope->row_->*pass_ += {.calls = 1, .time = now - start_, .flops = flops_};
    scope->row_ = nullptr;
    scope->add_time_until(now);
  }
}

void count_flops(std::int64_t flops) {
  if (running) running->flops_ += flops;
}

void profile_saved_bytes(const Tensor& root) {
  if (!innermost) return;
  for (const GraphReport::Entry& entry : graph_report(root).entries) {
    for (ProfileScope* scope = innermost; scope; scope = scope->outer_) {
      scope->row(entry.label, entry.name).saved_bytes += entry.saved_bytes;
    }
  }
}

// ---- The table ----

namespace {

std::string share(nanoseconds part, nanoseconds whole) {
  if (whole.count() == 0) return "-";
  return format_text("{:.1f} %", 100 * to_milliseconds(part) / to_milliseconds(whole));
}

// Widths fit a step of ten minutes.
constexpr const char* kLine =
    "{:<{}}  {:<{}}  {:>6}  {:>10}  {:>6}  {:>11}  {:>6}  {:>10}  {:>7}  {:>9}\n";

}  // namespace

std::string to_string(const Profile& profile, std::int64_t steps) {
  if (steps < 1) throw Error(format_text("to_string: a profile of {} steps", steps));
  const auto divisor = static_cast<double>(steps);
  std::vector<ProfileRow> rows = profile.rows();
  std::stable_sort(rows.begin(), rows.end(),
                   [](const ProfileRow& a, const ProfileRow& b) { return a.time() > b.time(); });
  ProfileRow total{.label = "total"};
  std::size_t label_width = 5, op_width = 9;
  for (const ProfileRow& row : rows) {
    label_width = std::max(label_width, row.label.size());
    op_width = std::max(op_width, row.op.size());
    total.forward += row.forward;
    total.backward += row.backward;
    total.saved_bytes += row.saved_bytes;
  }
  const auto milliseconds = [&](nanoseconds time) {
    return format_text("{:.3f}", to_milliseconds(time) / divisor);
  };
  const auto pass_time = [&](const ProfilePass& pass) {
    return pass.calls == 0 ? "-" : milliseconds(pass.time);
  };
  const auto speed = [](const ProfilePass& pass) {
    return pass.flops == 0 ? "-" : format_text("{:.1f}", pass.gigaflops_per_second());
  };
  const auto mebibytes = [&](std::int64_t bytes) {
    return format_text("{:.2f}", static_cast<double>(bytes) / (1 << 20) / divisor);
  };
  std::string text;
  const auto line = [&](std::string_view label, std::string_view op, std::string_view calls,
                        std::string_view forward, std::string_view forward_speed,
                        std::string_view backward, std::string_view backward_speed,
                        std::string_view both, std::string_view part, std::string_view saved) {
    text += format_text(kLine, label, label_width, op, op_width, calls, forward, forward_speed,
                        backward, backward_speed, both, part, saved);
  };
  const auto row_line = [&](const ProfileRow& row, std::string_view calls, nanoseconds time) {
    line(row.label, row.op, calls, pass_time(row.forward), speed(row.forward),
         pass_time(row.backward), speed(row.backward), milliseconds(time),
         share(time, profile.time()), mebibytes(row.saved_bytes));
  };
  line("layer", "operation", "calls", "forward ms", "GF/s", "backward ms", "GF/s", "total ms",
       "share", "saved MiB");
  const std::string rule(text.size() - 1, '-');
  text += rule + "\n";
  for (const ProfileRow& row : rows) {
    const std::int64_t calls = std::max(row.forward.calls, row.backward.calls);
    row_line(row, format_text("{:.4g}", static_cast<double>(calls) / divisor), row.time());
  }
  text += rule + "\n";
  const nanoseconds other = profile.other_time();
  line("other", "", "", "", "", "", "", milliseconds(other), share(other, profile.time()), "");
  row_line(total, "", profile.time());
  return text;
}

}  // namespace attune
