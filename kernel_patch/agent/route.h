// SPDX-License-Identifier: Apache-2.0
// Where the kernel would send a packet for an address.
#pragma once

#include <optional>

#include "lb/address.h"
#include "lb/netlink.h"

namespace crab {

struct RouteTo {
  unsigned interface_index = 0;
  IpAddress next_hop;     // the gateway, or the address itself
  bool is_local = false;  // the address is one of this host's own
};

// Empty if there is no route. Throws std::system_error.
std::optional<RouteTo> route_to(NetlinkSocket& socket, const IpAddress& address);

}  // namespace crab
