// SPDX-License-Identifier: Apache-2.0
// Tables for plots: every combination of some policies, distributions, loads and intervals.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "perf/sim/campaign.h"

namespace crab::sim {

struct Sweep {
  Scenario base;
  // As parse_policy takes them.
  std::vector<std::string> policies = {"random", "round_robin", "power_of_two",
                                       "join_shortest_queue"};
  std::vector<ServiceKind> services = {ServiceKind::Exponential};
  std::vector<double> loads = {0.3, 0.5, 0.65, 0.8, 0.9};
  std::vector<Time> intervals;  // none: the base's
};

// CSV with a header. Times in milliseconds.
void run_sweep(const Sweep& sweep, const Effort& effort, std::FILE* out);

}  // namespace crab::sim
