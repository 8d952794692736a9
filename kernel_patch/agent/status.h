// SPDX-License-Identifier: Apache-2.0
// `crab-agent status`: what the installed endpoint does, whether or not an agent runs.
#pragma once

#include <string>
#include <vector>

#include "kernel_patch/agent/endpoint.h"
#include "kernel_patch/agent/load_maps.h"

namespace crab {

// A backend's, as they are counted.
struct BackendLoad {
  SocketAddress address;
  LoadCounts counts;
  std::vector<std::pair<unsigned, std::uint64_t>> accepted_by_node;  // those that are not 0
};

struct Status {
  EndpointReport endpoint;
  std::vector<BackendLoad> loads;
  std::uint64_t boot_id = 0;        // of the counts
  std::uint64_t n_repaired = 0;     // connections by which audits corrected the counts
  std::uint64_t n_wakes_lost = 0;   // events that the agent was not woken for
  std::vector<crab_session> nodes;  // that the agent is attached to, or tries to be
  std::uint64_t now_ns = 0;         // CLOCK_MONOTONIC, when this was read
};

// Throws AgentError if nothing is installed.
Status read_status(const std::string& pin_directory, bool with_flows);

// Keys are never shown.
std::string status_table(const Status& status);
std::string status_json(const Status& status);

}  // namespace crab
