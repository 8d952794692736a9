// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/next_hop_keeper.h"

#include <fmt/format.h>
#include <linux/neighbour.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "kernel_patch/agent/mapped_address.h"
#include "kernel_patch/agent/route.h"

namespace crab {
namespace {

// More neighbours than this on a link are not remembered; the kernel's own limit is 1024 by
// default.
constexpr std::size_t kMaxRemembered = 65536;

// For a next hop that was dead before this agent started: tc replaces it in every packet of a
// connection, so that only new SYNs, which have nobody to go to, carry it.
constexpr MacAddress kPlaceholder = {0x02, 0, 0, 0, 0, 0x01};

void probe_by_multicast(const Interface& interface) {
  for (const char* family : {"ipv4", "ipv6"}) {
    const std::string path =
        fmt::format("/proc/sys/net/{}/neigh/{}/mcast_resolicit", family, interface.name);
    int now = 0;
    std::ifstream(path) >> now;
    if (now == 0) std::ofstream(path) << 3;
  }
}

}  // namespace

NextHopKeeper::NextHopKeeper(const KernelMaps& maps, const std::vector<Interface>& interfaces)
    : maps_(maps), notifications_({RTNLGRP_NEIGH}) {
  for (const Interface& interface : interfaces) {
    interfaces_.insert(interface.index);
    probe_by_multicast(interface);
  }
  read_all();
}

void NextHopKeeper::follow() {
  if (!notifications_.receive([this](const nlmsghdr* message) { neighbor_changed(message); })) {
    read_all();
  }
}

void NextHopKeeper::read_all() {
  // Acting needs the socket that the dump is read from: first all of it, then what has failed.
  std::vector<Hop> failed;
  NetlinkRequest request(RTM_GETNEIGH, NLM_F_DUMP);
  request.fixed_header<ndmsg>();
  requests_.request(request, [&](const nlmsghdr* message) {
    const auto& header = *static_cast<const ndmsg*>(mnl_nlmsg_get_payload(message));
    const auto index = static_cast<unsigned>(header.ndm_ifindex);
    const NetlinkAttributes attributes(message, sizeof(ndmsg));
    const auto address = ip_from_attribute(header.ndm_family, attributes[NDA_DST]);
    if (address && interfaces_.contains(index) && (header.ndm_state & NUD_FAILED) != 0) {
      failed.emplace_back(index, *address);
    } else {
      neighbor_changed(message);
    }
  });
  for (const Hop& hop : failed) {
    if (is_needed(hop)) revive(hop);
  }
}

void NextHopKeeper::neighbor_changed(const nlmsghdr* message) {
  if (message->nlmsg_type != RTM_NEWNEIGH) return;
  const auto& header = *static_cast<const ndmsg*>(mnl_nlmsg_get_payload(message));
  const auto index = static_cast<unsigned>(header.ndm_ifindex);
  if (!interfaces_.contains(index)) return;
  const NetlinkAttributes attributes(message, sizeof(ndmsg));
  const auto address = ip_from_attribute(header.ndm_family, attributes[NDA_DST]);
  if (!address) return;
  const Hop hop(index, *address);
  if ((header.ndm_state & NUD_FAILED) != 0) {
    if (is_needed(hop)) revive(hop);
    return;
  }
  const nlattr* link_address = attributes[NDA_LLADDR];
  if (link_address == nullptr || mnl_attr_get_payload_len(link_address) != sizeof(MacAddress) ||
      (last_known_.size() >= kMaxRemembered && !last_known_.contains(hop))) {
    return;
  }
  const auto* bytes = static_cast<const std::uint8_t*>(mnl_attr_get_payload(link_address));
  std::copy_n(bytes, sizeof(MacAddress), last_known_[hop].begin());
}

// Whether some open connection's virtual address is reached through the hop.
bool NextHopKeeper::is_needed(const Hop& hop) {
  std::set<IpAddress> routed_elsewhere;
  bool needed = false;
  maps_.for_each_flow([&](const crab_tuple& tuple, const crab_flow& flow) {
    const IpAddress service = from_mapped(tuple.remote);
    if (flow.expires_ns != 0 || routed_elsewhere.contains(service)) return true;
    const auto route = route_to(requests_, service);
    needed = route && Hop(route->interface_index, route->next_hop) == hop;
    if (!needed) routed_elsewhere.insert(service);
    return !needed;
  });
  return needed;
}

void NextHopKeeper::revive(const Hop& hop) {
  const auto known = last_known_.find(hop);
  const MacAddress mac = known == last_known_.end() ? kPlaceholder : known->second;
  NetlinkRequest request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
  auto& header = request.fixed_header<ndmsg>();
  header.ndm_family = static_cast<unsigned char>(to_af(hop.second.family));
  header.ndm_ifindex = static_cast<int>(hop.first);
  header.ndm_state = NUD_REACHABLE;
  request.put(NDA_DST, hop.second);
  request.put(NDA_LLADDR, mac);
  const int error = requests_.request(request);
  if (error != 0) {
    spdlog::error("{} no longer answers, and its neighbour entry cannot be kept: {}",
                  hop.second.to_string(), std::strerror(error));
    return;
  }
  spdlog::warn("{} no longer answers; kept at {}, because open connections route there",
               hop.second.to_string(), to_string(mac));
}

}  // namespace crab
