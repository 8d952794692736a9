// SPDX-License-Identifier: Apache-2.0
// `crab-agent status`: what the installed endpoint does, whether or not an agent runs.
#pragma once

#include <string>
#include <vector>

#include "kernel_patch/agent/kernel_maps.h"

namespace crab {

struct Status {
  std::vector<std::string> interfaces;  // with our programs on them
  bool offers = false;                  // the sock_ops program is attached
  std::vector<std::pair<crab_service_key, crab_service>> services;
  std::vector<crab_prefix> prefixes;
  FlowTotals flows;
  std::uint64_t n_pending = 0;
  std::uint64_t n_echoes = 0;
  Counters counters{};
  std::vector<std::pair<crab_tuple, crab_flow>> flow_list;  // only if asked for
};

// Throws AgentError if nothing is installed.
Status read_status(const std::string& pin_directory, bool with_flows);

// Keys are never shown.
std::string status_table(const Status& status);
std::string status_json(const Status& status);

}  // namespace crab
