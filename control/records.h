// SPDX-License-Identifier: Apache-2.0
// What the control strand keeps of services, backends and leases: plain values. A record that has
// been published is immutable.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lb/address.h"
#include "lb/snapshot.h"
#include "policies/registry.h"

namespace crab {

enum class Owner : std::uint8_t { Config, Api };

using Endpoint = std::pair<IpAddress, std::uint16_t>;  // port in host order

using WallTime = std::chrono::system_clock::time_point;

// Deadlines are kept by the steady clock, so that a step of the wall clock neither ends nor extends
// anything, and shown and stored by the other.
struct Clocks {
  std::function<std::chrono::steady_clock::time_point()> steady = std::chrono::steady_clock::now;
  std::function<WallTime()> wall = std::chrono::system_clock::now;
};

struct Deadline {
  std::chrono::steady_clock::time_point steady{};
  WallTime wall{};

  static Deadline in(const Clocks& clocks, std::chrono::milliseconds time) {
    return {clocks.steady() + time, clocks.wall() + time};
  }
  bool has_passed(const Clocks& clocks) const { return clocks.steady() >= steady; }
};

struct BackendDefinition {
  IpAddress address;
  std::uint16_t port = 0;
  std::uint32_t weight = 1;
  Owner owner = Owner::Api;
  std::string lease{};  // its id; empty: lives until it is deregistered

  Endpoint endpoint() const { return {address, port}; }
  bool operator==(const BackendDefinition&) const = default;
};

// A load signal out of band: xds.service.orca.v3.
struct OrcaSettings {
  std::string metric;      // as LoadSignal.metric, its default filled in
  std::uint16_t port = 0;  // 0: the backend's own
  std::chrono::milliseconds interval{};

  auto operator<=>(const OrcaSettings&) const = default;
};

// Which backends are eligible when fewer than the minimum are healthy.
enum class WhenBelow : std::uint8_t { All, None };

struct ServiceDefinition {
  std::string name;
  IpAddress address;
  std::uint16_t port = 0;
  std::string policy;
  PolicyInstance::Parameters parameters;  // sorted
  bool paper = false;
  std::vector<ServiceKey> keys;
  bool announce = true;
  Owner owner = Owner::Api;
  std::chrono::seconds ramp{};       // of a slow start; zero: none
  std::optional<OrcaSettings> orca;  // empty: crab-agent's reports are the load signal
  // Whether backends are checked: then none is eligible before its first verdict.
  bool checked = false;
  std::uint32_t min_healthy_percent = 0;  // 0: no minimum
  WhenBelow when_below = WhenBelow::All;
  std::uint32_t max_expiry_percent = 50;  // of leased backends at once; 100: never freezes

  bool operator==(const ServiceDefinition&) const = default;
};

// What a load slot stands for: two services share it when they have the backend's load from the
// same source.
using LoadKey = std::pair<Endpoint, std::optional<OrcaSettings>>;
using IndexHandle = std::shared_ptr<const std::uint32_t>;

enum class Admin : std::uint8_t { InService, Draining, Drained, Maintenance };
enum class DrainedBy : std::uint8_t { Nothing, ZeroConnections, Deadline };

// What somebody has asked of a backend besides serving.
struct Administration {
  Admin state = Admin::InService;
  // Draining or drained: the backend is deregistered, and gone at the end.
  bool removes = false;
  DrainedBy drained_by = DrainedBy::Nothing;
  std::string reason;
  WallTime since{};
  // Draining: when it ends, connections or not. Drained and deregistered: when it is gone.
  Deadline until{};

  bool takes_no_connections() const { return state != Admin::InService; }
  bool is_leaving() const { return removes; }
};

struct BackendRecord {
  BackendDefinition definition;
  IndexHandle load_slot;
  std::uint64_t assigned_base = 0;  // what the slot's counter showed when this DIP:dport got it
  Administration administration{};
  bool lease_expired = false;  // and the lease says to mark it
  WallTime registered{};       // under this address
  std::uint64_t version = 0;   // another one after each change of the above; the etag
};

// Becomes immutable when published; until then only the strand sees it.
struct ServiceRecord {
  ServiceDefinition definition;
  std::shared_ptr<PolicyInstance> policy;  // kept across changes of backends
  IndexHandle id;
  std::uint64_t assigned_base = 0;  // as above, of the service's counters
  std::uint64_t refused_base = 0;
  std::map<std::string, BackendRecord> backends;  // by id
  std::map<Endpoint, std::string> id_at;          // of the backend there
  std::uint64_t version = 0;                      // of the definition; the etag
  // Revision that has the newest change of a backend's record, be it only on its way.
  std::uint64_t backends_revision = 0;
};

enum class OnExpiry : std::uint8_t { Drain, MarkUnhealthy, Remove };

struct LeaseRecord {
  std::string id;
  std::chrono::milliseconds ttl{};
  OnExpiry on_expiry = OnExpiry::Drain;
  std::chrono::milliseconds drain_timeout{};  // with OnExpiry::Drain
  Deadline until{};
  bool expired = false;  // stays, with OnExpiry::MarkUnhealthy, until it is renewed or revoked
};

}  // namespace crab
