// SPDX-License-Identifier: Apache-2.0
// Many scenarios, each with several seeds, on several threads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "perf/sim/scenario.h"

namespace crab::sim {

struct Effort {
  unsigned n_seeds = 3;
  std::uint64_t max_requests = UINT64_MAX;  // of a run, whatever its scenario says
  unsigned n_threads = 1;
  bool same_requests = false;  // only what is not the clients' differs from seed to seed
};

// Means over the seeds; the spread is (greatest - least) / mean of p99.
struct Average {
  double mean_ms = 0, p50_ms = 0, p99_ms = 0, p999_ms = 0;
  double p99_spread = 0;
  double share = 0;
  double n_lost_to_crash = 0;
  double n_unconfirmed = 0;
  std::string rule;
};

// In the order of the scenarios, whose seeds do not matter.
std::vector<Average> run_all(const std::vector<Scenario>& scenarios, const Effort& effort);

}  // namespace crab::sim
