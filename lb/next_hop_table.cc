// SPDX-License-Identifier: Apache-2.0
#include "lb/next_hop_table.h"

#include <fmt/format.h>

#include <algorithm>

namespace crab {

namespace {

bool is_inside(const IpAddress& address, const IpAddress& prefix, unsigned length) {
  if (address.family != prefix.family) return false;
  const unsigned n_bytes = length / 8;
  if (!std::equal(prefix.bytes.begin(), prefix.bytes.begin() + n_bytes, address.bytes.begin())) {
    return false;
  }
  const auto mask = static_cast<std::uint8_t>(0xFF00U >> (length % 8));
  return length % 8 == 0 || ((prefix.bytes[n_bytes] ^ address.bytes[n_bytes]) & mask) == 0;
}

}  // namespace

NextHopTable::NextHopTable(std::vector<HostLink> links) : links_(std::move(links)) {}

const HostLink* NextHopTable::link(unsigned ifindex) const {
  const auto found = std::ranges::find(links_, ifindex, &HostLink::ifindex);
  return found == links_.end() ? nullptr : &*found;
}

std::vector<IpAddress> NextHopTable::want(const std::vector<IpAddress>& backends) {
  const std::unordered_set<IpAddress> wanted(backends.begin(), backends.end());
  std::erase_if(backends_, [&](const auto& entry) {
    const auto& [address, backend] = entry;
    if (wanted.contains(address)) return false;
    if (backend.route) drop_user(*backend.route, address);
    changed_.erase(address);
    return true;
  });
  std::vector<IpAddress> added;
  for (const IpAddress& address : wanted) {
    if (backends_.try_emplace(address).second) added.push_back(address);
  }
  return added;
}

std::vector<IpAddress> NextHopTable::covered_by(const IpAddress& prefix, unsigned length) const {
  std::vector<IpAddress> covered;
  for (const auto& [address, backend] : backends_) {
    if (is_inside(address, prefix, length)) covered.push_back(address);
  }
  return covered;
}

std::vector<IpAddress> NextHopTable::all() const {
  std::vector<IpAddress> addresses;
  addresses.reserve(backends_.size());
  for (const auto& [address, backend] : backends_) addresses.push_back(address);
  return addresses;
}

std::vector<NeighborKey> NextHopTable::neighbors() const {
  std::vector<NeighborKey> keys;
  keys.reserve(neighbors_.size());
  for (const auto& [key, entry] : neighbors_) keys.push_back(key);
  return keys;
}

void NextHopTable::drop_user(const Route& route, const IpAddress& backend) {
  const auto entry = neighbors_.find({route.ifindex, route.next_hop});
  if (entry == neighbors_.end()) return;
  entry->second.users.erase(backend);
  if (!entry->second.users.empty()) return;
  released_.push_back(entry->first);
  neighbors_.erase(entry);
}

void NextHopTable::set_route(const IpAddress& backend, Route route) {
  const auto found = backends_.find(backend);
  if (found == backends_.end() || found->second.route == route) return;
  if (found->second.route) drop_user(*found->second.route, backend);
  if (is_ours(route.ifindex)) {
    const NeighborKey key{route.ifindex, route.next_hop};
    const auto [entry, is_new] = neighbors_.try_emplace(key);
    entry->second.users.insert(backend);
    if (is_new) needed_.push_back(key);
  }
  found->second.route = std::move(route);
  changed_.insert(backend);
}

void NextHopTable::set_neighbor(const NeighborKey& key, const Neighbor& neighbor) {
  const auto found = neighbors_.find(key);
  if (found == neighbors_.end() || found->second.neighbor == neighbor) return;
  found->second.neighbor = neighbor;
  changed_.insert(found->second.users.begin(), found->second.users.end());
}

bool NextHopTable::set_link(unsigned ifindex, bool up) {
  const auto found = std::ranges::find(links_, ifindex, &HostLink::ifindex);
  if (found == links_.end() || found->up == up) return false;
  found->up = up;
  for (const auto& [key, entry] : neighbors_) {
    if (key.ifindex == ifindex) changed_.insert(entry.users.begin(), entry.users.end());
  }
  return true;
}

NextHopState NextHopTable::evaluate(const Route& route) const {
  if (route.ifindex == 0) return {std::nullopt, route.reason};
  const HostLink* port = link(route.ifindex);
  if (port == nullptr) return {std::nullopt, route.reason};
  if (!port->up) return {std::nullopt, fmt::format("{} is down", port->name)};

  const Neighbor& neighbor = neighbors_.at({route.ifindex, route.next_hop}).neighbor;
  if (neighbor.state == Neighbor::State::Known) {
    return {NextHop{neighbor.mac, port->mac, port->port_id}, {}};
  }
  return {std::nullopt,
          fmt::format("no {} from {} on {}{}",
                      route.next_hop.is_v4() ? "ARP answer" : "neighbour advertisement",
                      route.next_hop.to_string(), port->name,
                      neighbor.state == Neighbor::State::Failed ? "" : " yet")};
}

std::vector<std::pair<IpAddress, NextHopState>> NextHopTable::take_changes() {
  std::vector<std::pair<IpAddress, NextHopState>> changes;
  for (const IpAddress& address : std::exchange(changed_, {})) {
    const auto found = backends_.find(address);
    if (found == backends_.end() || !found->second.route) continue;
    NextHopState state = evaluate(*found->second.route);
    if (found->second.told == state) continue;
    found->second.told = state;
    changes.emplace_back(address, std::move(state));
  }
  return changes;
}

std::vector<NeighborKey> NextHopTable::take_needed() {
  std::vector<NeighborKey> needed = std::exchange(needed_, {});
  std::erase_if(needed, [this](const NeighborKey& key) { return !needs(key); });
  return needed;
}

std::vector<NeighborKey> NextHopTable::take_released() {
  std::vector<NeighborKey> released = std::exchange(released_, {});
  // Needed again in the meantime, by another backend: nothing is to be released.
  std::erase_if(released, [this](const NeighborKey& key) { return needs(key); });
  return released;
}

}  // namespace crab
