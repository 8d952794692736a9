// SPDX-License-Identifier: Apache-2.0
// `crab-agent run`: installs the endpoint and stays: to sweep, to read the file again, to attach to
// nodes and to report load.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "control/identity/server_options.h"
#include "kernel_patch/agent/endpoint.h"

namespace crab {

struct RunOptions {
  EndpointOptions endpoint;
  std::string config_path;              // may be empty if there are appliances
  std::vector<std::string> appliances;  // control sockets; what they say replaces the file
  TlsClientOptions tls;                 // for those of them that are tcp:
  std::string name;                     // the host's, in the fleet
  std::chrono::milliseconds sweep_interval{2000};
  std::chrono::milliseconds audit_interval{1000};  // of the connections counted
};

// Returns on SIGTERM or SIGINT, the endpoint staying in the kernel and going on to count. SIGHUP
// reads the file again; a wrong one changes nothing. Throws AgentError if it cannot start.
void run(const RunOptions& options);

}  // namespace crab
