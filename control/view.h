// SPDX-License-Identifier: Apache-2.0
// What is published, as everybody but the strand sees it: an immutable value. Reads are answered
// from it without waiting for a change in progress.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
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

struct View {
  std::uint64_t revision = 0;
  std::map<std::string, std::shared_ptr<const ServiceRecord>> services;
  std::map<IpAddress, NextHopInfo> next_hops;

  const ServiceRecord* find(const std::string& name) const;
  Health health_of(const IpAddress& backend, std::string* reason = nullptr) const;
  std::uint32_t count_eligible(const ServiceRecord& service) const;
};

// What the workers get for it: the backends that are Healthy.
SnapshotSpec make_snapshot_spec(const View& view, std::uint8_t node);

// Since the object got its counters, over all workers.
std::uint64_t count_assigned(const Dataplane& dataplane, const ServiceRecord& service);
std::uint64_t count_refused(const Dataplane& dataplane, const ServiceRecord& service);
std::uint64_t count_assigned(const Dataplane& dataplane, const BackendRecord& backend);

}  // namespace crab
