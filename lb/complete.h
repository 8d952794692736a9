// SPDX-License-Identifier: Apache-2.0
// Stage 0, on virtual ports alone: the kernel behind a veth hands over TCP and UDP packets whose
// checksum holds no more than the pseudo-header's sum. They are completed here, for every path.
#pragma once

#include <span>

#include "lb/packet.h"

namespace crab {

struct PortSettings;

// Computes the checksum of every unfragmented TCP or UDP packet of ports that ask for it. A frame
// that is cut short is left as it is; parse drops it.
void complete_checksums(const Burst& burst, std::span<const PortSettings> ports);

}  // namespace crab
