// SPDX-License-Identifier: Apache-2.0
// A simulated crab-agent: what it counts on its servers, and when it speaks of it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "lb/load_table.h"
#include "perf/sim/scenario.h"

namespace crab::sim {

// The records of one datagram, by server.
using Records = std::vector<std::pair<std::uint32_t, LoadSample>>;

class Agent {
 public:
  // Counts for the servers first .. first + n - 1, which have no connections yet.
  Agent(const Scenario& scenario, std::uint32_t first, std::uint32_t n);

  void count_accept(std::uint32_t server, unsigned node);
  void count_close(std::uint32_t server);
  // The sockets are still there; the counts are not.
  void restart();
  std::uint32_t n_open(std::uint32_t server) const { return counts_[server - first_].open; }

  // Something is worth a report: when it may leave. nullopt if one is about to leave anyway.
  std::optional<Time> schedule_report(Time now);
  // One report for each node: of everything in a heartbeat, otherwise of what has changed.
  using Send = std::function<void(unsigned node, Records records)>;
  void report(Time now, bool is_heartbeat, const Send& send);

 private:
  struct Counts {
    std::uint32_t open = 0;
    std::uint64_t closed = 0;
    std::uint64_t accepted = 0;
    std::vector<std::uint64_t> accepted_from;  // by node
    bool has_changed = false;
  };
  LoadSample sample(const Counts& counts, unsigned node) const;

  const Reports& reports_;
  const unsigned n_nodes_;
  const std::uint32_t first_;
  std::vector<Counts> counts_;
  std::uint64_t boot_id_ = 1;
  std::optional<Time> sent_at_;
  bool is_scheduled_ = false;
};

}  // namespace crab::sim
