// SPDX-License-Identifier: Apache-2.0
#include "perf/sim/node.h"

#include <algorithm>

namespace crab::sim {
namespace {

std::shared_ptr<PolicyInstance> make_policy(const Scenario& scenario, const LoadTable& table) {
  const auto* ops = find_policy(scenario.policy);
  if (ops == nullptr) throw PolicyError("there is no policy called '" + scenario.policy + "'");
  return PolicyInstance::create(*ops, scenario.parameters, table.host());
}

}  // namespace

Node::Node(const Scenario& scenario)
    : scenario_(scenario),
      assigned_(scenario.n_servers),
      table_(scenario.table, [this](std::uint32_t slot) { return assigned_[slot]; }),
      policy_(make_policy(scenario, table_)),
      backends_(scenario.n_servers) {
  for (std::uint32_t i = 0; i < scenario.n_servers; ++i) backends_[i].id = "s" + std::to_string(i);
}

void Node::join(std::span<const std::uint32_t> servers, Time now) {
  for (const auto server : servers) {
    table_.reset(server);
    backends_[server].is_member = true;
  }
  refresh(now);
}

void Node::leave(std::uint32_t server, Time now) {
  backends_[server].is_member = false;
  refresh(now);
}

std::vector<std::uint32_t> Node::eligible(Time now) const {
  std::vector<std::uint32_t> members;
  std::vector<std::uint32_t> heard;
  for (std::uint32_t i = 0; i < backends_.size(); ++i) {
    if (!backends_[i].is_member) continue;
    members.push_back(i);
    if (!table_.is_silent(i, now)) heard.push_back(i);
  }
  return 2 * heard.size() < members.size() ? members : heard;
}

bool Node::refresh(Time now) {
  const auto servers = eligible(now);
  if (servers == in_force_ && n_ramping_ == 0) return false;
  rebuild(servers, now);
  return true;
}

std::uint32_t Node::weight_of(std::uint32_t server, Time now) {
  const std::uint32_t weight = scenario_.speeds[server % scenario_.speeds.size()];
  if (scenario_.ramp == Time{}) return weight;
  Backend& backend = backends_[server];
  const auto age = now - backend.eligible_since;
  backend.is_ramping = backend.eligible_since > Time{} && age < scenario_.ramp;
  if (!backend.is_ramping) return weight * kRampScale;
  ++n_ramping_;
  const double part =
      static_cast<double>(age.count()) / static_cast<double>(scenario_.ramp.count());
  return static_cast<std::uint32_t>(weight * kRampScale * std::max(0.1, part));
}

void Node::rebuild(const std::vector<std::uint32_t>& servers, Time now) {
  const bool is_first = in_force_.empty();
  for (const auto server : in_force_) backends_[server].index = kNoIndex;
  for (std::uint32_t i = 0; i < servers.size(); ++i) {
    Backend& backend = backends_[servers[i]];
    const bool was_eligible = std::binary_search(in_force_.begin(), in_force_.end(), servers[i]);
    if (!was_eligible && !is_first) backend.eligible_since = now;
    backend.index = i;
  }
  in_force_ = servers;
  n_ramping_ = 0;
  std::vector<crab_policy_backend> backends;
  backends.reserve(servers.size());
  for (const auto server : servers) {
    backends.push_back({backends_[server].id.c_str(), server, weight_of(server, now)});
  }
  set_ = backends.empty() ? PolicySet() : policy_->rebuild(backends);
  ++n_rebuilds_;
  if (set_) set_.update_all(to_ns(now));
}

std::uint32_t Node::place(const crab_policy_flow& flow) {
  std::uint32_t index = 0;
  set_.pick({&flow, 1}, {&index, 1});
  const std::uint32_t server = in_force_.at(index);
  ++assigned_[server];
  return server;
}

void Node::report(std::uint32_t server, const LoadSample& sample, Time now) {
  table_.report(server, sample, now);
  if (const auto index = backends_[server].index; index != kNoIndex) {
    set_.update({&index, 1}, to_ns(now));
  }
}

}  // namespace crab::sim
