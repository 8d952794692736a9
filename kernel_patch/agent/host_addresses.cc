// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/host_addresses.h"

#include <linux/if_addr.h>

#include <algorithm>

#include "lb/netlink.h"

namespace crab {

std::vector<IpAddress> host_addresses() {
  std::vector<IpAddress> found;
  NetlinkSocket socket;
  NetlinkRequest request(RTM_GETADDR, NLM_F_DUMP);
  request.fixed_header<ifaddrmsg>().ifa_family = AF_UNSPEC;
  socket.request(request, [&found](const nlmsghdr* message) {
    const auto* header = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(message));
    if (header->ifa_scope >= RT_SCOPE_LINK) return;
    const NetlinkAttributes attributes(message, sizeof *header);
    // With a peer, IFA_ADDRESS is the peer's and IFA_LOCAL one's own (rtnetlink(7)).
    const nlattr* own = attributes[IFA_LOCAL] ? attributes[IFA_LOCAL] : attributes[IFA_ADDRESS];
    const auto address = ip_from_attribute(header->ifa_family, own);
    if (address && !address->is_unusable()) found.push_back(*address);
  });
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

}  // namespace crab
