// SPDX-License-Identifier: Apache-2.0
// What a run simulates, and what it found. Times are of the simulation's clock.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "lb/load_table.h"
#include "perf/sim/service_time.h"
#include "policies/registry.h"

namespace crab::sim {

using Time = std::chrono::nanoseconds;
using Milliseconds = std::chrono::duration<double, std::milli>;

enum class ReportMode {
  None,      // no agents: balanced by assignments alone
  Ideal,     // each accept and each close is known at once, and a heartbeat every `interval`
  Periodic,  // every `interval`
  Event,     // on each close, and a heartbeat every `interval`
};

struct Reports {
  ReportMode mode = ReportMode::Event;
  Time interval = std::chrono::milliseconds(10);
  // Least time between two reports of an agent that events cause.
  Time coalescing{};
  bool accepts = false;  // Event: also on each accept
  double loss = 0;       // share of reports lost, each node's on its own
  Time delay = std::chrono::microseconds(20);
  unsigned backends_per_agent = 1;  // neighbours, reported by one agent in one message
};

// Something that happens to one server, once.
struct Incident {
  enum class Kind {
    Crash,         // silent: no answer, no close, no report any more
    AgentRestart,  // counts start anew under another boot id
    FailFast,      // from now on a request takes a hundredth of the mean
    Join,          // becomes a backend; before its first Join it is none
    Leave,         // is a backend no more; what it has is served
  };
  Kind kind = Kind::Crash;
  Time at{};
  std::uint32_t server = 0;
};

struct Scenario {
  unsigned n_servers = 48;
  ServiceKind service = ServiceKind::Exponential;
  Time mean_service = std::chrono::milliseconds(1);
  // Server i has the speed speeds[i % size], which is also its weight. Not empty.
  std::vector<std::uint32_t> speeds = {1};
  double load = 0.8;  // offered, of the capacity of those that are backends from the start

  std::uint64_t n_requests = 700'000;
  // Left out at the start. What is measured starts with the first incident, if that is later.
  double warm_up_share = 0.1;
  std::uint64_t seed = 1;        // of arrivals and service times
  std::uint64_t other_seed = 1;  // of everything else: the policy's dice, losses

  unsigned n_nodes = 1;  // each with its own table and instance; a request comes to any of them
  std::string policy = "round_robin";
  PolicyInstance::Parameters parameters;
  // min_silence: the product has 200 ms; the figures of POLICIES.md are without one.
  LoadTable::Settings table = {.min_silence = {}};
  Time ramp{};  // SlowStart.ramp_seconds

  Reports reports;
  Time network_delay = std::chrono::microseconds(20);  // from the node to the server
  double syn_loss = 0;                                 // between node and server
  Time hold{};  // a connection stays open so long after its request was served
  std::vector<Incident> incidents;
};

struct Result {
  std::uint64_t n_measured = 0;
  Milliseconds mean{}, p50{}, p99{}, p999{};  // from the node's pick to the end of service
  std::uint64_t n_syns_lost = 0;
  // Sent to a server after its crash.
  std::uint64_t n_lost_to_crash = 0;
  // In service or waiting on it when it crashed.
  std::uint64_t n_ended_by_crash = 0;
  // Since the first incident: what its server got of its fair share, by weight.
  double share = 0;
  std::uint64_t n_written_off = 0;
  std::uint64_t n_late = 0;
  std::uint64_t n_rebuilds = 0;
  std::uint64_t n_events = 0;
  std::uint64_t n_unconfirmed = 0;  // at the end, over all nodes and backends
  std::string rule;                 // of the first node's policy, at the end
};

// Deterministic: the same scenario has the same result. Throws PolicyError for a policy that is
// unknown or refuses its parameters, std::invalid_argument for a scenario that makes no sense.
Result simulate(const Scenario& scenario);

}  // namespace crab::sim
