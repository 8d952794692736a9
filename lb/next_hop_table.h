// SPDX-License-Identifier: Apache-2.0
// Which backends can be reached, and how, out of what Linux says of routes, links and neighbours.
// Pure: lb/neighbor.h feeds it from netlink, tests by hand. Control thread only.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "control/dataplane.h"
#include "lb/address.h"

namespace crab {

// A port, as the kernel's tables know it: by its host interface.
struct HostLink {
  unsigned ifindex = 0;
  std::string name;
  std::uint16_t port_id = 0;
  MacAddress mac{};
  bool up = true;  // administratively, and with carrier
};

// Where the kernel would send a packet for an address.
struct Route {
  unsigned ifindex = 0;  // 0: nowhere, and `reason` says why
  IpAddress next_hop;    // the gateway, or the address itself
  std::string reason;

  bool operator==(const Route&) const = default;
};

// A neighbour's entry in the kernel's table.
struct Neighbor {
  enum class State : std::uint8_t { Unknown, Waiting, Failed, Known };
  State state = State::Unknown;
  MacAddress mac{};  // when Known

  bool operator==(const Neighbor&) const = default;
};

struct NeighborKey {
  unsigned ifindex = 0;
  IpAddress address;

  auto operator<=>(const NeighborKey&) const = default;
};

}  // namespace crab

template <>
struct std::hash<crab::NeighborKey> {
  std::size_t operator()(const crab::NeighborKey& key) const noexcept {
    return std::hash<crab::IpAddress>()(key.address) ^ (key.ifindex * 0x9E3779B97F4A7C15ULL);
  }
};

namespace crab {

// Every operation costs what it changes: one backend, or the backends behind one neighbour.
class NextHopTable {
 public:
  explicit NextHopTable(std::vector<HostLink> links);

  // Exactly these backends from now on. Returns those that are new, whose routes are to be looked
  // up; until then they have no state.
  std::vector<IpAddress> want(const std::vector<IpAddress>& backends);
  bool wants(const IpAddress& backend) const { return backends_.contains(backend); }
  // Those whose route a change of this prefix may move.
  std::vector<IpAddress> covered_by(const IpAddress& prefix, unsigned length) const;
  std::vector<IpAddress> all() const;

  void set_route(const IpAddress& backend, Route route);
  // Ignored unless some backend needs that neighbour.
  void set_neighbor(const NeighborKey& key, const Neighbor& neighbor);
  bool needs(const NeighborKey& key) const { return neighbors_.contains(key); }
  std::vector<NeighborKey> neighbors() const;
  // Ignored unless it is the interface of one of our links. True if the link's state changed.
  bool set_link(unsigned ifindex, bool up);
  bool is_ours(unsigned ifindex) const { return link(ifindex) != nullptr; }

  // What changed since the last call: each backend once, and only if its state did.
  std::vector<std::pair<IpAddress, NextHopState>> take_changes();
  // Neighbours that some backend needs from now on, and those that none needs any more.
  std::vector<NeighborKey> take_needed();
  std::vector<NeighborKey> take_released();

 private:
  struct Backend {
    std::optional<Route> route;
    std::optional<NextHopState> told;  // what take_changes last returned
  };
  struct NeighborEntry {
    Neighbor neighbor;
    std::unordered_set<IpAddress> users;
  };
  const HostLink* link(unsigned ifindex) const;
  void drop_user(const Route& route, const IpAddress& backend);
  NextHopState evaluate(const Route& route) const;

  std::vector<HostLink> links_;
  std::unordered_map<IpAddress, Backend> backends_;
  std::unordered_map<NeighborKey, NeighborEntry> neighbors_;
  std::unordered_set<IpAddress> changed_;
  std::vector<NeighborKey> needed_;
  std::vector<NeighborKey> released_;
};

}  // namespace crab
