// SPDX-License-Identifier: Apache-2.0
// What is published, as everybody but the strand sees it: an immutable value. Reads are answered
// from it without waiting for a change in progress.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "control/dataplane.h"
#include "control/desired_state.h"

namespace crab {

// What is known of the way to a backend's address.
struct NextHopInfo {
  NextHopState state;
  bool was_resolved = false;  // at some time since the address came into use
};

enum class Health : std::uint8_t { Initial, Healthy, Unhealthy };

// Backends whose reports have stopped.
struct SilentBackends {
  std::set<std::uint32_t> load_slots;
  // Services most of whose backends are among them: their silence is taken for the path's, and
  // keeps none of them from being eligible.
  std::set<std::string> suspected_services;

  bool operator==(const SilentBackends&) const = default;
};

// Weights count in tenths: those of a service's backends that are not in its map count whole.
inline constexpr std::uint32_t kRampSteps = 10;
using Ramps = std::map<std::string, std::map<std::uint32_t, std::uint32_t>>;  // service, slot

struct View {
  std::uint64_t revision = 0;
  std::map<std::string, std::shared_ptr<const ServiceRecord>> services;
  std::map<IpAddress, NextHopInfo> next_hops;
  SilentBackends silent;
  Ramps ramps;

  const ServiceRecord* find(const std::string& name) const;
  Health health_of(const ServiceRecord& service, const BackendRecord& backend,
                   std::string* reason = nullptr) const;
  bool is_eligible(const ServiceRecord& service, const BackendRecord& backend) const {
    return health_of(service, backend) == Health::Healthy;
  }
  std::uint32_t count_eligible(const ServiceRecord& service) const;
  // 1..kRampSteps.
  std::uint32_t tenths_of_weight(const ServiceRecord& service, const BackendRecord& backend) const;
};

// What the workers get for it: the backends that are Healthy.
SnapshotSpec make_snapshot_spec(const View& view, std::uint8_t node);

// Since the object got its counters, over all workers.
std::uint64_t count_assigned(const Dataplane& dataplane, const ServiceRecord& service);
std::uint64_t count_refused(const Dataplane& dataplane, const ServiceRecord& service);
std::uint64_t count_assigned(const Dataplane& dataplane, const BackendRecord& backend);
// Since the process started.
std::uint64_t count_assigned_to(const Dataplane& dataplane, std::uint32_t load_slot);

}  // namespace crab
