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
#include "control/records.h"
#include "lb/snapshot.h"

namespace crab {

// What is known of the way to a backend's address.
struct NextHopInfo {
  NextHopState state;
  bool was_resolved = false;  // at some time since the address came into use
};

enum class Health : std::uint8_t { Initial, Healthy, Unhealthy, Draining, Drained, Maintenance };

// What a health check has found, as those who check hand it to Manager::set_health.
struct HealthVerdict {
  bool healthy = false;
  std::string reason;  // one line for the operator: why not healthy
  // The backend must not get connections even when a service falls back on all of its backends:
  // it does not understand redirected SYNs.
  bool unusable = false;

  bool operator==(const HealthVerdict&) const = default;
};
using Verdicts = std::map<std::uint32_t, HealthVerdict>;  // by load slot
using VerdictsOfServices = std::map<std::string, std::shared_ptr<const Verdicts>>;

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

// A backend's state as it was published.
struct BackendStatus {
  Health health = Health::Initial;
  std::string reason;
  WallTime since{};  // in that state

  bool operator==(const BackendStatus&) const = default;
};
using Statuses = std::map<std::string, BackendStatus>;  // by id

struct View {
  std::uint64_t revision = 0;
  std::map<std::string, std::shared_ptr<const ServiceRecord>> services;
  std::map<IpAddress, NextHopInfo> next_hops;
  SilentBackends silent;
  VerdictsOfServices verdicts;
  // Services with fewer healthy backends than their minimum (judge_minima), and what they do then.
  std::map<std::string, WhenBelow> below_minimum;
  // Services whose leases do not run out, so many would at once.
  std::set<std::string> frozen;
  Ramps ramps;
  std::map<std::string, std::shared_ptr<const Statuses>> statuses;  // of every service

  const ServiceRecord* find(const std::string& name) const;
  Health health_of(const ServiceRecord& service, const BackendRecord& backend,
                   std::string* reason = nullptr) const;
  // With the state's beginning; the service is one of this view's.
  const BackendStatus& status_of(const ServiceRecord& service, const std::string& id) const;
  // Whether it gets new connections: it is healthy, or all of a service below its minimum are
  // taken.
  bool is_eligible(const ServiceRecord& service, const BackendRecord& backend) const;
  std::uint32_t count_eligible(const ServiceRecord& service) const;
  // 1..kRampSteps.
  std::uint32_t tenths_of_weight(const ServiceRecord& service, const BackendRecord& backend) const;

 private:
  const HealthVerdict* verdict_on(const ServiceRecord& service, const BackendRecord& backend) const;
};

// Makes View::below_minimum. Backends that are out by request, or not judged yet, do not count.
void judge_minima(View* view);
// Makes View::statuses: a state that is as in `before` has begun when it did there.
void follow_statuses(const View& before, WallTime now, View* view);

// What the workers get for it: the backends that are eligible.
SnapshotSpec make_snapshot_spec(const View& view, std::uint8_t node);

// Since the object got its counters, over all workers.
std::uint64_t count_assigned(const Dataplane& dataplane, const ServiceRecord& service);
std::uint64_t count_refused(const Dataplane& dataplane, const ServiceRecord& service);
std::uint64_t count_assigned(const Dataplane& dataplane, const BackendRecord& backend);
// Since the process started.
std::uint64_t count_assigned_to(const Dataplane& dataplane, std::uint32_t load_slot);

}  // namespace crab
