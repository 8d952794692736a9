// SPDX-License-Identifier: Apache-2.0
// Keeps connections alive whose appliance is gone. A redirected connection's packets go to the
// backend, but its socket still routes to the virtual address, and the kernel resolves that
// route's next hop before tc rewrites the packet. If the next hop is the appliance itself and no
// longer answers ARP or neighbour discovery, the kernel drops them. A download does not keep the
// entry valid either: TCP confirms a neighbour only when its own data is acknowledged.
//
// So when such an entry fails while connections need it, it is made reachable again, with the
// MAC address it had. The kernel goes on probing it, by multicast too (mcast_resolicit), so that an
// appliance that comes back, even elsewhere, is found.
#pragma once

#include <map>
#include <set>
#include <utility>
#include <vector>

#include "kernel_patch/agent/kernel_maps.h"
#include "kernel_patch/agent/tc_attachment.h"
#include "lb/address.h"
#include "lb/netlink.h"

namespace crab {

class NextHopKeeper {
 public:
  // `maps` outlives it. Has the kernel probe by multicast on the interfaces. Throws
  // std::system_error.
  NextHopKeeper(const KernelMaps& maps, const std::vector<Interface>& interfaces);

  int fd() const { return notifications_.fd(); }  // readable: call follow()
  void follow();

 private:
  using Hop = std::pair<unsigned, IpAddress>;  // interface index, address

  void read_all();
  void neighbor_changed(const nlmsghdr* message);
  bool is_needed(const Hop& hop);
  void revive(const Hop& hop);

  const KernelMaps& maps_;
  std::set<unsigned> interfaces_;
  NetlinkSocket requests_;
  NetlinkSocket notifications_;
  std::map<Hop, MacAddress> last_known_;  // of these interfaces
};

}  // namespace crab
