// SPDX-License-Identifier: Apache-2.0
#include "perf/sim/agent.h"

#include <algorithm>

namespace crab::sim {

Agent::Agent(const Scenario& scenario, std::uint32_t first, std::uint32_t n)
    : reports_(scenario.reports), n_nodes_(scenario.n_nodes), first_(first), counts_(n) {
  for (auto& counts : counts_) counts.accepted_from.resize(n_nodes_);
}

void Agent::count_accept(std::uint32_t server, unsigned node) {
  Counts& counts = counts_[server - first_];
  ++counts.open;
  ++counts.accepted;
  ++counts.accepted_from[node];
  counts.has_changed = true;
}

void Agent::count_close(std::uint32_t server) {
  Counts& counts = counts_[server - first_];
  --counts.open;
  ++counts.closed;
  counts.has_changed = true;
}

void Agent::restart() {
  ++boot_id_;
  for (auto& counts : counts_) {
    counts.closed = counts.accepted = 0;
    std::fill(counts.accepted_from.begin(), counts.accepted_from.end(), 0);
  }
}

std::optional<Time> Agent::schedule_report(Time now) {
  if (is_scheduled_) return std::nullopt;
  is_scheduled_ = true;
  return sent_at_ ? std::max(now, *sent_at_ + reports_.coalescing) : now;
}

LoadSample Agent::sample(const Counts& counts, unsigned node) const {
  return {
      .open = counts.open,
      .counts = LoadSample::Counts{.accepted_own = counts.accepted_from[node],
                                   .accepted_total = counts.accepted,
                                   .closed_total = counts.closed},
      .boot_id = boot_id_,
      .event = reports_.mode != ReportMode::Periodic,
      .interval = reports_.interval,
  };
}

void Agent::report(Time now, bool is_heartbeat, const Send& send) {
  if (!is_heartbeat) {
    is_scheduled_ = false;
    sent_at_ = now;
  }
  for (unsigned node = 0; node < n_nodes_; ++node) {
    Records records;
    for (std::uint32_t i = 0; i < counts_.size(); ++i) {
      if (!is_heartbeat && !counts_[i].has_changed) continue;
      records.emplace_back(first_ + i, sample(counts_[i], node));
    }
    if (!records.empty()) send(node, std::move(records));
  }
  for (auto& counts : counts_) counts.has_changed = false;
}

}  // namespace crab::sim
