// SPDX-License-Identifier: Apache-2.0
// Stage 6: the SYN becomes the backend's. Destination, next hop, TTL, the option and the
// checksums, all incrementally (RFC 1624): a wrong checksum stays wrong.
#pragma once

#include "lb/packet.h"
#include "lb/snapshot.h"

namespace crab {

// Every live packet whose verdict is Redirected has its service and backend set.
void redirect(const Burst& burst, const Snapshot& snapshot);

}  // namespace crab
