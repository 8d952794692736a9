// SPDX-License-Identifier: Apache-2.0
// A node of the simulation: the product's load table and policy, and of its control thread what
// decides which backends are eligible.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lb/load_table.h"
#include "perf/sim/scenario.h"
#include "policies/registry.h"

namespace crab::sim {

// Servers are load slots.
class Node {
 public:
  // Every server is known; none is a backend yet.
  explicit Node(const Scenario& scenario);
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // Those that join an empty set are not new: their service has long been running.
  void join(std::span<const std::uint32_t> servers, Time now);
  void leave(std::uint32_t server, Time now);
  // Brings the set into line with joins, leaves, silences and ramps; true if it is another one.
  bool refresh(Time now);

  // The server for a new connection. Precondition: there is a backend.
  std::uint32_t place(const crab_policy_flow& flow);
  void report(std::uint32_t server, const LoadSample& sample, Time now);
  void update_all(Time now) { set_.update_all(to_ns(now)); }

  const LoadTable& table() const { return table_; }
  std::uint64_t n_rebuilds() const { return n_rebuilds_; }
  std::string rule() const { return set_.rule(); }

 private:
  static constexpr std::uint32_t kNoIndex = UINT32_MAX;
  // What the weights of a service with a ramp are multiplied with, so that a tenth is a number.
  static constexpr std::uint32_t kRampScale = 100;
  struct Backend {
    std::string id;
    bool is_member = false;
    std::uint32_t index = kNoIndex;  // in the set, if it is eligible
    Time eligible_since{};
    bool is_ramping = false;
  };
  static std::uint64_t to_ns(Time t) { return static_cast<std::uint64_t>(t.count()); }
  // Which members are eligible: all that are not silent, or all if most are silent.
  std::vector<std::uint32_t> eligible(Time now) const;
  std::uint32_t weight_of(std::uint32_t server, Time now);
  void rebuild(const std::vector<std::uint32_t>& servers, Time now);

  const Scenario& scenario_;
  std::vector<std::uint64_t> assigned_;  // by server
  LoadTable table_;
  std::shared_ptr<PolicyInstance> policy_;
  PolicySet set_;
  std::vector<Backend> backends_;        // by server
  std::vector<std::uint32_t> in_force_;  // server by index in the set
  unsigned n_ramping_ = 0;
  std::uint64_t n_rebuilds_ = 0;
};

}  // namespace crab::sim
