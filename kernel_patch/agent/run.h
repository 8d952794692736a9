// SPDX-License-Identifier: Apache-2.0
// `crab-agent run`: installs the endpoint and stays, to sweep and to read the file again.
#pragma once

#include <chrono>
#include <string>

#include "kernel_patch/agent/endpoint.h"

namespace crab {

struct RunOptions {
  EndpointOptions endpoint;
  std::string config_path;
  std::chrono::milliseconds sweep_interval{2000};
};

// Returns on SIGTERM or SIGINT, the endpoint staying in the kernel. SIGHUP reads the file again; a
// wrong one changes nothing. Throws AgentError if it cannot start.
void run(const RunOptions& options);

}  // namespace crab
