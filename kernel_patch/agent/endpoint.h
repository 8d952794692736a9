// SPDX-License-Identifier: Apache-2.0
// The endpoint in the kernel: loading the BPF programs, attaching them, taking over from an agent
// before, and taking everything away again.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernel_patch/agent/bpffs.h"
#include "kernel_patch/agent/endpoint_config.h"
#include "kernel_patch/agent/kernel_maps.h"
#include "kernel_patch/agent/tc_attachment.h"
#include "kernel_patch/bpf/layout.h"

struct crab_bpf;  // the generated skeleton

namespace crab {

struct EndpointOptions {
  unsigned roles = 0;  // CRAB_ROLE_*
  std::vector<std::string> interfaces;
  std::string cgroup;  // sockets of its processes are offered for; the client role needs it
  std::string pin_directory;
  std::uint32_t max_flows = CRAB_MAX_FLOWS;
  std::uint32_t max_pending = CRAB_MAX_PENDING;
  std::uint32_t max_echoes = CRAB_MAX_ECHOES;
  bool learn_next_hop = true;  // false: ask the neighbour table for every packet
};

// Where the cgroup v2 hierarchy is mounted, the first if several; /sys/fs/cgroup if nowhere.
std::string cgroup2_mount();

// Of the calling thread's network namespace; it never changes and is never used again.
std::uint64_t current_netns_cookie();

// Installed or taken over by the constructor, in the order maps, configuration, tc, sockets. It
// stays in the kernel when this object goes: connections outlive the agent.
class Endpoint {
 public:
  // Throws AgentError.
  Endpoint(const EndpointOptions& options, const EndpointConfig& config);
  ~Endpoint();

  const std::vector<Interface>& interfaces() const { return interfaces_; }
  const KernelMaps& maps() const { return *maps_; }
  const PinDirectory& directory() const { return directory_; }
  // Removes expired flows and pending entries. Throws AgentError.
  void sweep() const;

 private:
  void load(const EndpointOptions& options);
  void attach_sockets(const std::string& cgroup) const;

  std::vector<Interface> interfaces_;
  PinDirectory directory_;
  std::unique_ptr<crab_bpf, void (*)(crab_bpf*)> programs_;
  std::unique_ptr<KernelMaps> maps_;
};

// The same for a process that has loaded nothing: the program is pinned.
void sweep(const PinDirectory& directory);

// Detaches everything of the endpoint in this network namespace and removes its pins: sockets,
// egress, ingress, maps.
void uninstall(const PinDirectory& directory);

}  // namespace crab
