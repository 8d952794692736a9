// SPDX-License-Identifier: Apache-2.0
// Stage 3: which TCP packets of a service are SYNs that may be redirected.
#pragma once

#include "lb/counters.h"
#include "lb/packet.h"
#include "lb/pipeline.h"
#include "lb/snapshot.h"

namespace crab {

enum TcpFlag : std::uint8_t { kFin = 0x01, kSyn = 0x02, kRst = 0x04, kAck = 0x10 };

// Keeps a SYN that carries the offer its service wants (or has room for the paper's option) and
// whose service has an eligible backend; ECN's flags do not matter (RFC 3168, 6.1.1).
// The paper form must not outgrow the MTU of the port it came by.
void admit(Burst& burst, const Snapshot& snapshot, std::span<const PortSettings> ports,
           WorkerCounters& counters);

}  // namespace crab
