// SPDX-License-Identifier: Apache-2.0
// What the endpoint takes from the file that it shares with the appliance: the services to offer
// to, their keys, and the prefixes that backends may be in.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "crab/v1/config.pb.h"
#include "kernel_patch/bpf/layout.h"

namespace crab {

struct EndpointConfig {
  std::vector<std::pair<crab_service_key, crab_service>> services;
  std::vector<crab_prefix> prefixes;  // none: every backend address is allowed
};

// Throws AgentError with every line that is wrong (FILE:LINE: field: why). Checks only
// what the endpoint uses: an agent's file need not describe an appliance.
EndpointConfig load_endpoint_config(const std::string& path);

// The same for a configuration that has been checked.
EndpointConfig endpoint_config_of(const v1::Config& config);

}  // namespace crab
