// SPDX-License-Identifier: Apache-2.0
// A datapath that only remembers: what it was given, and what a test wants it to answer.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "control/dataplane.h"

namespace crab {

class FakeDataplane : public Dataplane {
 public:
  explicit FakeDataplane(unsigned n_workers = 2) {
    for (unsigned i = 0; i < n_workers; ++i) {
      counters_.push_back(std::make_unique<WorkerCounters>());
    }
  }

  // Set by tests.
  bool resolve_at_once = true;  // as if every neighbour answered
  std::set<IpAddress> own;      // the node's own addresses
  EdgeTotals edge;
  std::string rule;                                         // of every policy
  std::vector<unsigned> stuck_workers;                      // not empty: applied is false
  std::function<void(const SnapshotSpec&)> before_publish;  // may throw
  std::function<void()> before_virtual_addresses;           // may throw

  // What happened.
  std::vector<SnapshotSpec> published;
  std::vector<std::uint32_t> changed_slots;  // of loads_changed, all calls
  unsigned n_all_changed = 0;
  std::vector<IpAddress> resolving;
  std::vector<VirtualAddress> virtual_addresses;

  PublishOutcome publish(const SnapshotSpec& spec) override {
    if (before_publish) before_publish(spec);
    refuse_what_a_snapshot_refuses(spec);
    published.push_back(spec);
    return {stuck_workers.empty(), stuck_workers};
  }
  void loads_changed(std::span<const std::uint32_t> slots) override {
    changed_slots.insert(changed_slots.end(), slots.begin(), slots.end());
  }
  void all_loads_changed() override { ++n_all_changed; }
  std::string policy_rule(std::uint32_t) const override { return rule; }
  // The first eligible backend, which is certain when it is the only one.
  std::optional<ExplainedChoice> explain(std::uint32_t service_id,
                                         const FlowTuple&) const override {
    for (const auto& service : published.back().services) {
      if (service.id != service_id || service.eligible.empty()) continue;
      return ExplainedChoice{.load_slot = service.eligible[0].load_slot,
                             .why = "it is the first",
                             .certain = service.eligible.size() == 1};
    }
    return std::nullopt;
  }
  void resolve(const std::vector<IpAddress>& addresses) override {
    const auto before = resolving;
    resolving = addresses;
    if (!resolve_at_once) return;
    for (const auto& address : addresses) {
      if (std::find(before.begin(), before.end(), address) == before.end()) set_up(address);
    }
  }
  void on_next_hop(NextHopCallback callback) override { callback_ = std::move(callback); }
  void set_virtual_addresses(const std::vector<VirtualAddress>& addresses) override {
    if (before_virtual_addresses) before_virtual_addresses();
    virtual_addresses = addresses;
  }
  bool is_own_address(const IpAddress& address) const override { return own.contains(address); }
  unsigned n_workers() const override { return static_cast<unsigned>(counters_.size()); }
  const WorkerCounters& counters(unsigned worker) const override { return *counters_[worker]; }

  EdgeTotals edge_totals() const override { return edge; }

  WorkerCounters& counters_of(unsigned worker) { return *counters_[worker]; }
  void set_up(const IpAddress& address) {
    NextHop next_hop;
    next_hop.destination = {2, 0, 0, 0, 0, address.bytes[address.size() - 1]};
    callback_(address, {next_hop, ""});
  }
  void set_down(const IpAddress& address, const std::string& reason) {
    callback_(address, {std::nullopt, reason});
  }
  const ServiceSpec* find(const std::string& address) const {
    for (const auto& service : published.back().services) {
      if (service.address.to_string() == address) return &service;
    }
    return nullptr;
  }

 private:
  // What the real Snapshot throws std::invalid_argument on: control must never get that far.
  static void refuse_what_a_snapshot_refuses(const SnapshotSpec& spec) {
    std::set<std::pair<IpAddress, be16>> endpoints;
    std::set<std::uint32_t> ids;
    for (const auto& service : spec.services) {
      if (!endpoints.insert({service.address, service.port}).second ||
          !ids.insert(service.id).second || !service.policy) {
        throw std::invalid_argument("two services alike, or one without a policy");
      }
      for (const auto& backend : service.eligible) {
        if (backend.address.family != service.address.family) {
          throw std::invalid_argument("a backend of another family");
        }
      }
    }
  }

  std::vector<std::unique_ptr<WorkerCounters>> counters_;
  NextHopCallback callback_;
};

}  // namespace crab
