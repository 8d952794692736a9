// SPDX-License-Identifier: Apache-2.0
#include "lb/neighbor.h"

#include <fmt/format.h>
#include <linux/neighbour.h>
#include <net/if.h>
#include <spdlog/spdlog.h>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

namespace crab {

namespace {

// Look-ups between two turns of the event loop, so that ten thousand backends do not hold up the
// API; one takes some ten microseconds.
constexpr std::size_t kLookUpsPerTurn = 256;
// More changed prefixes than this in one batch: look everything up again.
constexpr std::size_t kMaxMovedPrefixes = 32;
constexpr std::chrono::seconds kRefreshInterval{5};

constexpr std::uint16_t kKnownStates =
    NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT | NUD_NOARP;

std::string interface_name(unsigned ifindex) {
  char name[IF_NAMESIZE];
  return if_indextoname(ifindex, name) != nullptr ? name : fmt::format("interface {}", ifindex);
}

// What fib_props (net/ipv4/fib_semantics.c) answers for the types of routes that lead nowhere.
std::string why_no_route(const IpAddress& address, int error) {
  switch (error) {
    case EINVAL:
      return "a blackhole route covers " + address.to_string();
    case EACCES:
      return "a route or rule prohibits " + address.to_string();
    case ENETUNREACH:
    case EHOSTUNREACH:
      return "no route to " + address.to_string();
    default:
      return fmt::format("no route to {}: {}", address.to_string(), std::strerror(error));
  }
}

NetlinkRequest neighbor_request(std::uint16_t type, std::uint16_t flags, const NeighborKey& key,
                                std::uint8_t neighbor_flags) {
  NetlinkRequest request(type, flags);
  auto& header = request.fixed_header<ndmsg>();
  header.ndm_family = static_cast<std::uint8_t>(to_af(key.address.family));
  header.ndm_ifindex = static_cast<int>(key.ifindex);
  header.ndm_flags = neighbor_flags;
  request.put(NDA_DST, key.address);
  return request;
}

// RTA_VIA is a next hop of another family than the route's (RFC 5549).
std::optional<IpAddress> via_address(const nlattr* attribute) {
  if (attribute == nullptr || mnl_attr_get_payload_len(attribute) < sizeof(rtvia)) return {};
  const auto* via = static_cast<const rtvia*>(mnl_attr_get_payload(attribute));
  const std::size_t length = mnl_attr_get_payload_len(attribute) - sizeof(rtvia);
  if (via->rtvia_family == AF_INET6 && length == 16) return IpAddress::v6(via->rtvia_addr);
  if (via->rtvia_family == AF_INET && length == 4) return IpAddress::v4(via->rtvia_addr);
  return {};
}

}  // namespace

NeighborFollower::NeighborFollower(boost::asio::io_context& io, NetlinkSocket& requests,
                                   std::vector<HostLink> links)
    : io_(io),
      requests_(requests),
      notifications_({RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,
                      RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE, RTNLGRP_NEXTHOP}),
      descriptor_(io, notifications_.fd()),
      table_(std::move(links)),
      refresh_(io) {
  refresh_links();
  wait_for_notifications();
}

NeighborFollower::~NeighborFollower() { descriptor_.release(); }

void NeighborFollower::resolve(const std::vector<IpAddress>& backends) {
  look_up_later(table_.want(backends));
  schedule();  // also when none is new: neighbours may be there to release
}

void NeighborFollower::wait_for_notifications() {
  descriptor_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                         [this](const boost::system::error_code& error) {
                           if (error == boost::asio::error::operation_aborted) return;
                           const bool complete = notifications_.receive(
                               [this](const nlmsghdr* message) { notified(message); });
                           if (!complete) read_everything_again();
                           if (everything_moved_ || moved_prefixes_.size() > kMaxMovedPrefixes) {
                             look_up_later(table_.all());
                           } else {
                             for (const auto& [prefix, length] : moved_prefixes_) {
                               look_up_later(table_.covered_by(prefix, length));
                             }
                           }
                           everything_moved_ = false;
                           moved_prefixes_.clear();
                           schedule();
                           wait_for_notifications();
                         });
}

void NeighborFollower::notified(const nlmsghdr* message) {
  switch (message->nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      return link_changed(message);
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
      return neighbor_changed(message);
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      return route_changed(message);
    default:  // a rule or a next hop object
      everything_moved_ = true;
  }
}

void NeighborFollower::link_changed(const nlmsghdr* message) {
  const auto* header = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
  const auto ifindex = static_cast<unsigned>(header->ifi_index);
  const bool up = message->nlmsg_type == RTM_NEWLINK && (header->ifi_flags & IFF_UP) != 0 &&
                  (header->ifi_flags & IFF_RUNNING) != 0;
  if (!table_.set_link(ifindex, up)) return;
  // Going down, the kernel forgot the neighbours; it is to ask for them again.
  for (const NeighborKey& key : table_.neighbors()) {
    if (up && key.ifindex == ifindex) to_keep_.insert(key);
  }
  everything_moved_ = true;
}

void NeighborFollower::route_changed(const nlmsghdr* message) {
  const auto* header = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message));
  if ((header->rtm_flags & RTM_F_CLONED) != 0) return;  // a cached exception, no route
  const NetlinkAttributes attributes(message, sizeof(rtmsg));
  const auto destination = ip_from_attribute(header->rtm_family, attributes[RTA_DST]);
  if (destination) {
    moved_prefixes_.emplace_back(*destination, header->rtm_dst_len);
  } else {
    everything_moved_ = true;  // a default route has no RTA_DST
  }
}

NeighborFollower::KernelNeighbor NeighborFollower::parse_neighbor(const nlmsghdr* message) {
  const auto* header = static_cast<const ndmsg*>(mnl_nlmsg_get_payload(message));
  const NetlinkAttributes attributes(message, sizeof(ndmsg));
  KernelNeighbor found;
  found.is_static = (header->ndm_state & (NUD_PERMANENT | NUD_NOARP)) != 0;
  found.is_managed = attributes[NDA_FLAGS_EXT] != nullptr &&
                     (mnl_attr_get_u32(attributes[NDA_FLAGS_EXT]) & NTF_EXT_MANAGED) != 0;
  const nlattr* mac = attributes[NDA_LLADDR];
  if ((header->ndm_state & kKnownStates) != 0 && mac != nullptr &&
      mnl_attr_get_payload_len(mac) == found.neighbor.mac.size()) {
    found.neighbor.state = Neighbor::State::Known;
    std::memcpy(found.neighbor.mac.data(), mnl_attr_get_payload(mac), found.neighbor.mac.size());
  } else {
    found.neighbor.state =
        (header->ndm_state & NUD_FAILED) != 0 ? Neighbor::State::Failed : Neighbor::State::Waiting;
  }
  return found;
}

void NeighborFollower::neighbor_changed(const nlmsghdr* message) {
  const auto* header = static_cast<const ndmsg*>(mnl_nlmsg_get_payload(message));
  const NetlinkAttributes attributes(message, sizeof(ndmsg));
  const auto address = ip_from_attribute(header->ndm_family, attributes[NDA_DST]);
  if (!address) return;
  const NeighborKey key{static_cast<unsigned>(header->ndm_ifindex), *address};
  if (!table_.needs(key)) return;
  if (message->nlmsg_type == RTM_DELNEIGH) {
    table_.set_neighbor(key, {Neighbor::State::Waiting, {}});
    to_keep_.insert(key);
  } else {
    table_.set_neighbor(key, parse_neighbor(message).neighbor);
  }
}

void NeighborFollower::read_everything_again() {
  spdlog::warn("netlink notifications were lost; reading routes and neighbours again");
  refresh_links();
  everything_moved_ = true;
  for (const NeighborKey& key : table_.neighbors()) to_keep_.insert(key);
}

void NeighborFollower::refresh_links() {
  NetlinkRequest dump(RTM_GETLINK, NLM_F_DUMP);
  dump.fixed_header<ifinfomsg>();
  requests_.request(dump, [this](const nlmsghdr* message) { link_changed(message); });
}

void NeighborFollower::look_up_later(const std::vector<IpAddress>& backends) {
  for (const IpAddress& backend : backends) {
    if (queued_.insert(backend).second) to_look_up_.push_back(backend);
  }
}

void NeighborFollower::schedule() {
  if (std::exchange(scheduled_, true)) return;
  boost::asio::post(io_, [this] { work(); });
}

void NeighborFollower::work() {
  scheduled_ = false;
  for (std::size_t n = 0; n < kLookUpsPerTurn && !to_look_up_.empty(); ++n) {
    const IpAddress backend = to_look_up_.front();
    to_look_up_.pop_front();
    queued_.erase(backend);
    if (table_.wants(backend)) table_.set_route(backend, look_up(backend));
  }
  for (const NeighborKey& key : table_.take_needed()) keep(key);
  for (const NeighborKey& key : std::exchange(to_keep_, {})) {
    if (table_.needs(key)) keep(key);
  }
  for (const NeighborKey& key : table_.take_released()) release(key);
  for (const auto& [backend, state] : table_.take_changes()) {
    if (callback_) callback_(backend, state);
  }
  if (!to_look_up_.empty()) schedule();
}

Route NeighborFollower::look_up(const IpAddress& backend) {
  NetlinkRequest request(RTM_GETROUTE, 0);
  auto& wanted = request.fixed_header<rtmsg>();
  wanted.rtm_family = static_cast<std::uint8_t>(to_af(backend.family));
  wanted.rtm_dst_len = static_cast<std::uint8_t>(backend.size() * 8);
  request.put(RTA_DST, backend);

  Route route;
  const int error = requests_.request(request, [&](const nlmsghdr* message) {
    const auto* header = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message));
    const NetlinkAttributes attributes(message, sizeof(rtmsg));
    if (header->rtm_type == RTN_LOCAL) {
      route.reason = backend.to_string() + " is an address of this host";
    } else if (header->rtm_type != RTN_UNICAST || attributes[RTA_OIF] == nullptr) {
      route.reason = "no route to " + backend.to_string();
    } else {
      route.ifindex = mnl_attr_get_u32(attributes[RTA_OIF]);
      const auto gateway = ip_from_attribute(header->rtm_family, attributes[RTA_GATEWAY]);
      const auto via = via_address(attributes[RTA_VIA]);
      route.next_hop = gateway ? *gateway : via.value_or(backend);
    }
  });
  if (error != 0) return {0, {}, why_no_route(backend, error)};
  if (route.ifindex != 0 && !table_.is_ours(route.ifindex)) {
    route.reason =
        fmt::format("routed through {}, not a port of crab-lb", interface_name(route.ifindex));
  }
  return route;
}

NeighborFollower::KernelNeighbor NeighborFollower::read_neighbor(const NeighborKey& key) {
  KernelNeighbor found{{Neighbor::State::Waiting, {}}, false, false};
  NetlinkRequest request = neighbor_request(RTM_GETNEIGH, 0, key, 0);
  requests_.request(request,
                    [&found](const nlmsghdr* message) { found = parse_neighbor(message); });
  return found;
}

// Has the kernel resolve the neighbour and keep it so, and takes over what it knows already.
void NeighborFollower::keep(const NeighborKey& key) {
  KernelNeighbor known = read_neighbor(key);
  if (!known.is_static) {
    // EXT_LEARNED takes the entry out of the garbage collector's hands, and out of its count:
    // gc_thresh3 is 1024, and a rack may hold more backends than that.
    NetlinkRequest request =
        neighbor_request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, key,
                         kernel_keeps_ ? NTF_EXT_LEARNED : NTF_EXT_LEARNED | NTF_USE);
    if (kernel_keeps_) request.put_u32(NDA_FLAGS_EXT, NTF_EXT_MANAGED);
    const int error = requests_.request(request);
    if (error != 0) {
      spdlog::warn("{} refuses the neighbour {}: {}", interface_name(key.ifindex),
                   key.address.to_string(), std::strerror(error));
    }
    known = read_neighbor(key);
    if (kernel_keeps_ && error == 0 && !known.is_managed) {
      kernel_keeps_ = false;
      spdlog::info(
          "this kernel does not keep neighbours resolved by itself (Linux 5.16 does): "
          "asking every {} s",
          kRefreshInterval.count());
      to_keep_.insert(key);
      arm_refresh();
      schedule();
    }
  }
  table_.set_neighbor(key, known.neighbor);
}

void NeighborFollower::release(const NeighborKey& key) {
  if (read_neighbor(key).is_static) return;
  NetlinkRequest request = neighbor_request(RTM_DELNEIGH, 0, key, 0);
  requests_.request(request);  // gone already: so much the better
}

void NeighborFollower::arm_refresh() {
  refresh_.expires_after(kRefreshInterval);
  refresh_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    for (const NeighborKey& key : table_.neighbors()) to_keep_.insert(key);
    schedule();
    arm_refresh();
  });
}

}  // namespace crab
