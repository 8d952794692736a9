// SPDX-License-Identifier: Apache-2.0
// What the policies have to reach: issue 3's acceptance table, and queueing theory before it.
#pragma once

#include "perf/sim/campaign.h"

namespace crab::sim {

// Prints a line for each case; true if all are reached.
bool check_thresholds(const Effort& effort);

}  // namespace crab::sim
