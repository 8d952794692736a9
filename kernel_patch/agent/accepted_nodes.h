// SPDX-License-Identifier: Apache-2.0
// Which node redirected the connections that were accepted, with an endpoint in the kernel: that
// counts them itself, by server and node, and this adds them to what kernel_patch/bpf/load.bpf.c
// counts. With the eBPF endpoint, load.bpf.c looks the node up itself.
//
// The kernel's counts begin at zero with the family (a module that is loaded anew); ours begin with
// the boot id of the counts, and never fall.
#pragma once

#include <map>
#include <span>
#include <utility>
#include <vector>

#include "kernel_patch/agent/load_maps.h"
#include "kernel_patch/agent/shared_map.h"
#include "kernel_patch/agent/tcp_redirect.h"

namespace crab {

// What is shown of a count, given the base and what was shown before. The kernel's number has
// fallen if the sum has: then it goes on from what was shown. Moves the base along.
std::uint64_t advance_accepted(std::uint64_t shown, std::uint64_t in_kernel, std::uint64_t* base);

class AcceptedNodes {
 public:
  struct Count {
    std::uint32_t index = 0;  // in the map of counts
    std::uint8_t node = 0;
    std::uint64_t n = 0;
  };

  // The load maps' directory; goes on where an agent before stopped. maps outlives this. Throws
  // AgentError.
  AcceptedNodes(const PinDirectory& directory, LoadMaps& maps);

  // These are watched from the next refresh() on: what the kernel counted of them before does not
  // count.
  void begin(std::span<const WatchedBackend> backends);
  // Brings crab_load.accepted_by_node up to date, by one dump. Throws AgentError; then it stays
  // where it was.
  void refresh();
  // What refresh() would make of it, for a process that only looks. Throws AgentError.
  std::vector<Count> peek();

  static void remove(const PinDirectory& directory);

 private:
  struct Step {
    Count shown;
    std::uint64_t base = 0;
  };
  using Counts = std::map<std::pair<SocketAddress, std::uint8_t>, std::uint64_t>;

  Counts in_kernel();
  void rebase(std::span<const WatchedBackend> backends, const Counts& counts);
  std::vector<Step> steps(const Counts& counts) const;

  LoadMaps& maps_;
  TcpRedirectNetlink netlink_;
  SharedMap<crab_accepted_base> bases_;
  std::vector<WatchedBackend> begun_;  // and not yet based
};

}  // namespace crab
