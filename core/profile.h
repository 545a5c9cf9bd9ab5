#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "attune/core/tensor.h"

// Where the time of a step goes, layer by layer:
//
//     Profile profile;
//     for (int i = 0; i < 20; ++i) {
//       const ProfileScope scope(profile);
//       ... a training step ...
//     }
//     std::cout << to_string(profile, 20);
//
// On a GPU that is the default device, every operation is waited for.
//
// The clock runs where an operation does: each begins with an OpTimer, and backward puts one around
// each node. Neither layers nor nodes could tell as much with less. A layer knows no operation that
// is called outside of layers (the loss), and its time contains its children's; a node exists only
// while gradients are recorded, and only once its operation is almost done.

namespace attune {

class Node;

/// One direction, forward or backward, of one row.
struct ProfilePass {
  std::int64_t calls = 0;
  std::chrono::nanoseconds time{0};
  /// Of convolutions and matrix products, by their shapes; a multiply-add counts as two. A
  /// convolution counts in full even if an algorithm multiplies less (Winograd's). Other arithmetic
  /// does not count.
  std::int64_t flops = 0;

  double milliseconds() const;
  /// 1e9 flops in a second; 0 if there are none.
  double gigaflops_per_second() const;

  ProfilePass& operator+=(const ProfilePass& other);
};

/// One operation of one layer, all calls together.
struct ProfileRow {
  std::string label = {};  ///< the layer, or empty; see LabelScope
  std::string op = {};     ///< "conv2d", ...; an optimizer's step has its name, "Sgd"
  ProfilePass forward = {};
  ProfilePass backward =
      {};  ///< a convolution has a call's flops for each gradient, input and filter
  /// Kept when backward began, as graph_report() counts; the network's own input is included.
  std::int64_t saved_bytes = 0;

  std::chrono::nanoseconds time() const { return forward.time + backward.time; }
};

/// What ProfileScopes have recorded. Times exclude each other: they add up, with other_time(), to
/// time(). An operation that calls others (in its backward, say) has their time and flops in its
/// row, and they have none.
class Profile {
 public:
  /// In the order in which the rows first appeared.
  std::vector<ProfileRow> rows() const { return {rows_.begin(), rows_.end()}; }
  /// On the clock of the wall, within the scopes.
  std::chrono::nanoseconds time() const { return time_; }
  /// The part of it that no row has: loading data, bookkeeping, the caller's own code.
  std::chrono::nanoseconds other_time() const;

 private:
  friend class ProfileScope;
  ProfileRow& row(std::string_view label, std::string_view op);

  std::deque<ProfileRow> rows_;  // which stay where they are when another one is added
  std::unordered_map<std::string, std::size_t> index_;
  std::chrono::nanoseconds time_{0};
};

/// The profile as a table for a terminal, the longest time first, then "other" and the total.
/// Calls, times and bytes are divided by `steps`, so that they are those of one. Throws Error if
/// `steps` is not positive.
std::string to_string(const Profile& profile, std::int64_t steps = 1);

/// Records into `profile` what operations run on this thread within the scope. Results, and what is
/// saved, do not change. Scopes nest: the outer one records what an inner one does. Must end on the
/// thread that it began on, before `profile` is moved or ends.
class ProfileScope {
 public:
  /// Throws Error if a scope around this one records into `profile` already.
  explicit ProfileScope(Profile& profile);
  ~ProfileScope();
  ProfileScope(const ProfileScope&) = delete;
  ProfileScope& operator=(const ProfileScope&) = delete;

 private:
  friend class OpTimer;
  friend void profile_saved_bytes(const Tensor& root);
  using Clock = std::chrono::steady_clock;
  ProfileRow& row(std::string_view label, std::string_view op) { return profile_.row(label, op); }
  void add_time_until(Clock::time_point now);

  Profile& profile_;
  ProfileScope* outer_;
  Clock::time_point counted_;  // the profile's time() goes until here
  ProfileRow* row_ = nullptr;  // of the running operation
};

/// Stands at the beginning of an operation: until the end of its block, time goes to the row of
/// `op`, under the label of the LabelScope around. Does nothing within another operation, or if
/// there is no ProfileScope.
class OpTimer {
 public:
  /// `op` is the name that the operation's Node has.
  explicit OpTimer(std::string_view op);
  /// The backward of `node`.
  explicit OpTimer(const Node& node);
  ~OpTimer();
  OpTimer(const OpTimer&) = delete;
  OpTimer& operator=(const OpTimer&) = delete;

 private:
  friend void count_flops(std::int64_t flops);
  void begin(std::string_view label, std::string_view op);

  bool is_running_ = false;
  ProfilePass ProfileRow::*pass_;
  ProfileScope::Clock::time_point start_;
  std::int64_t flops_ = 0;
};

/// Adds to the flops of the operation that runs.
void count_flops(std::int64_t flops);

/// Adds what the graph below `root` keeps to the rows of its nodes. backward() calls it.
void profile_saved_bytes(const Tensor& root);

}  // namespace attune
