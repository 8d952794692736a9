// SPDX-License-Identifier: Apache-2.0
// Tells the network where an address is now, so that neighbours that knew it elsewhere, at another
// node say, do not send there until their entries expire. Control thread only.
#pragma once

#include <cstdint>
#include <vector>

#include "lb/address.h"

namespace crab {

// The frame: an ARP announcement (RFC 5227, 2.3), or an unsolicited neighbour advertisement with
// the override flag to all nodes (RFC 4861, 7.2.6).
std::vector<std::uint8_t> make_announcement(const IpAddress& address, const MacAddress& mac);

// Sends it from the interface, at best effort: a lost one costs what it would have saved.
void announce(unsigned ifindex, const IpAddress& address, const MacAddress& mac);

}  // namespace crab
