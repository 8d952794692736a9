// SPDX-License-Identifier: Apache-2.0
// What the endpoint takes from the file that it shares with the appliance: the services to offer
// to, their keys, and the prefixes that backends may be in.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "control/socket_address.h"
#include "crab/v1/agent.pb.h"
#include "crab/v1/config.pb.h"
#include "kernel_patch/agent/endpoint_kind.h"
#include "kernel_patch/bpf/layout.h"

namespace crab {

struct EndpointConfig {
  EndpointChoice choice = EndpointChoice::Auto;  // the file's alone has it
  std::vector<std::pair<crab_service_key, crab_service>> services;
  std::vector<crab_prefix> prefixes;    // none: every backend address is allowed
  std::vector<SocketAddress> backends;  // of these services; the file's alone has them
};

// Throws AgentError with every line that is wrong (FILE:LINE: field: why). Checks only
// what the endpoint uses: an agent's file need not describe an appliance.
EndpointConfig load_endpoint_config(const std::string& path);

// The same for what a node says. Throws AgentError with every field that is wrong.
EndpointConfig endpoint_config_of(const v1::AttachResponse& response);

// Everything that any of them has; of two that speak of one service, the first is right. Prefixes
// restrict if any of them restricts.
EndpointConfig merged(const std::vector<EndpointConfig>& configs);

}  // namespace crab
