// SPDX-License-Identifier: Apache-2.0
// The kernel's own side of an interface whose frames net_af_packet takes. Linux gets every frame
// as well as we do, and must neither answer nor forward any: an nftables ingress chain drops them
// after AF_PACKET has had its copy, and the interface has no address. Main thread only.
#pragma once

#include <string>

#include "lb/single_instance.h"

namespace crab {

class KernelSide {
 public:
  // Quiets the interface, sets its MTU and brings it up. A table that a killed process left is
  // replaced. Throws StartupError when there is no such interface, or it has addresses or a
  // master, since then somebody else uses it.
  KernelSide(const std::string& interface, unsigned mtu);
  // Removes the table. The interface stays up: who made it may have had it so.
  ~KernelSide();
  KernelSide(const KernelSide&) = delete;
  KernelSide& operator=(const KernelSide&) = delete;

  // Is there such an interface, up and with carrier?
  static bool is_running(const std::string& interface);

 private:
  InterfaceClaim claim_;  // first: nobody else's table is touched
  std::string table_;
};

// The table's name, one for each interface: crab_lb0. What nft might take for syntax
// becomes _ and its two hexadecimal digits, so that no two interfaces share a name.
std::string quiet_table_name(const std::string& interface);

}  // namespace crab
