// SPDX-License-Identifier: Apache-2.0
// What goes wrong in practice, a table for each kind: unequal servers, fast failers, newcomers,
// losses, churn, several nodes, large sets.
#pragma once

#include "perf/sim/campaign.h"

namespace crab::sim {

void print_studies(const Effort& effort);

}  // namespace crab::sim
