// SPDX-License-Identifier: Apache-2.0
// `crab-agent remove`: drain, then unload.
#pragma once

#include <chrono>
#include <string>

namespace crab {

struct RemoveOptions {
  std::string pin_directory;
  bool force = false;                 // do not wait for connections, break them
  std::chrono::seconds timeout{300};  // how long to wait for them
};

// Stops offering, waits until the last redirected connection is over, and takes the endpoint
// away. Throws AgentError: nothing installed, an agent still runs, another network namespace, or
// connections that outlast the timeout (then the endpoint stays, offering nothing).
void remove(const RemoveOptions& options);

}  // namespace crab
