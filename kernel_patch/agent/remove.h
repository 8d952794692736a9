// SPDX-License-Identifier: Apache-2.0
// `crab-agent remove`: drain, then unload.
#pragma once

#include <chrono>
#include <string>

namespace crab {

struct RemoveOptions {
  std::string pin_directory;
  bool force = false;                 // do not wait for what is unfinished, break it
  std::chrono::seconds timeout{300};  // how long to wait for it
};

// Stops offering, waits for what the endpoint keeps alive, and takes it away: with eBPF every
// redirected connection, with an endpoint in the kernel only handshakes. A module stays loaded:
// other namespaces may use it. Throws AgentError: nothing installed, an agent still runs, another
// network namespace, or connections that outlast the timeout (then the endpoint stays, offering
// nothing).
void remove(const RemoveOptions& options);

}  // namespace crab
