// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/route.h"

namespace crab {

std::optional<RouteTo> route_to(NetlinkSocket& socket, const IpAddress& address) {
  std::optional<RouteTo> found;
  NetlinkRequest request(RTM_GETROUTE, 0);
  auto& header = request.fixed_header<rtmsg>();
  header.rtm_family = static_cast<unsigned char>(to_af(address.family));
  header.rtm_dst_len = static_cast<unsigned char>(address.size() * 8);
  request.put(RTA_DST, address);
  socket.request(request, [&](const nlmsghdr* message) {
    const auto& route = *static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message));
    const NetlinkAttributes attributes(message, sizeof(rtmsg));
    if (attributes[RTA_OIF] == nullptr) return;
    const auto gateway = ip_from_attribute(to_af(address.family), attributes[RTA_GATEWAY]);
    found.emplace(RouteTo{mnl_attr_get_u32(attributes[RTA_OIF]), gateway.value_or(address),
                          route.rtm_type == RTN_LOCAL});
  });
  return found;
}

}  // namespace crab
