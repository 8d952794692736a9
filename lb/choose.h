// SPDX-License-Identifier: Apache-2.0
// Stage 5: the policy places the connections that recall does not know.
#pragma once

#include "lb/counters.h"
#include "lb/packet.h"
#include "lb/recall.h"
#include "lb/snapshot.h"

namespace crab {

// One call to the policy for each service of the burst. Gives each packet of `unplaced` its
// backend and counts the assignment, or ends it with PolicyRange.
void choose(const Burst& burst, const Snapshot& snapshot, const Unplaced& unplaced,
            WorkerCounters& counters);

}  // namespace crab
