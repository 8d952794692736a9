// SPDX-License-Identifier: Apache-2.0
// Which leases run out when. When those of most of a service's backends would, none does: it is
// likelier that nobody can be heard than that everybody has died, and the backends go on being
// balanced to. Control strand only.
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/desired_state.h"

namespace crab {

// Leases that run out within it count together, because a fleet's deadlines are spread.
inline constexpr std::chrono::seconds kExpiryWindow{10};
inline constexpr std::size_t kMassExpiry = 3;  // backends; fewer are never too many

class LeaseWatch {
 public:
  // The leases to end now. Logs when a service freezes, and when it does not any more.
  std::vector<std::string> due(const DesiredState& state);
  // The service's leases that are frozen: to be ended now, the caller knows why.
  std::vector<std::string> release(const DesiredState& state, const std::string& service);

  // Services whose leases do not run out.
  const std::set<std::string>& frozen() const { return frozen_; }

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Count {
    std::size_t n_leased = 0;
    std::size_t n_due = 0;
    std::set<std::string> due;  // leases
  };
  static std::map<std::string, Count> count(const DesiredState& state);
  std::size_t n_recent(const std::string& service, Time now);

  std::set<std::string> frozen_;
  // Backends whose leases have run out lately.
  std::map<std::string, std::deque<std::pair<Time, std::size_t>>> recent_;
};

}  // namespace crab
