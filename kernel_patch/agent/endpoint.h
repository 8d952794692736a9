// SPDX-License-Identifier: Apache-2.0
// The endpoint in the kernel, of whichever kind: installing it, taking it over from an agent
// before, looking at it, and taking it away again.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernel_patch/agent/bpffs.h"
#include "kernel_patch/agent/endpoint_config.h"
#include "kernel_patch/agent/endpoint_kind.h"
#include "kernel_patch/agent/redirect_messages.h"
#include "kernel_patch/bpf/layout.h"

namespace crab {

struct EndpointOptions {
  unsigned roles = 0;                    // CRAB_ROLE_*
  std::optional<EndpointChoice> choice;  // empty: the file's
  std::string pin_directory;
  // The eBPF endpoint's alone; the others see every packet, and have limits of their own.
  std::vector<std::string> interfaces;
  std::string cgroup;  // sockets of its processes are offered for; the client role needs it
  std::uint32_t max_flows = CRAB_MAX_FLOWS;
  std::uint32_t max_pending = CRAB_MAX_PENDING;
  std::uint32_t max_echoes = CRAB_MAX_ECHOES;
  bool learn_next_hop = true;  // false: ask the neighbour table for every packet
};

// Of the calling thread's network namespace; it never changes and is never used again.
std::uint64_t current_netns_cookie();

// What an agent has installed. It stays in the kernel when this object goes: connections outlive
// the agent. Main thread only.
class RedirectEndpoint {
 public:
  virtual ~RedirectEndpoint() = default;

  virtual EndpointKind kind() const = 0;
  virtual const PinDirectory& directory() const = 0;
  // From now on it works; until then it was only made sure that it can. Throws AgentError.
  virtual void start(const EndpointConfig& config) = 0;
  // Services and prefixes become what the configuration says. Connections that exist are not
  // touched. Throws AgentError, and what was in force stays.
  virtual void apply(const EndpointConfig& config) = 0;
  // What has to be done every few seconds. Throws AgentError.
  virtual void maintain() = 0;
  // Readable: call follow(). -1: never.
  virtual int event_fd() const { return -1; }
  virtual void follow() {}
};

// Chooses, makes sure of it, removes an installation of another kind, and installs or takes over.
// options outlive the endpoint. Throws AgentError; what was installed is then still there, unless
// the very start failed.
std::unique_ptr<RedirectEndpoint> install_endpoint(const EndpointOptions& options,
                                                   const EndpointConfig& config);

// What `crab-agent status` shows of redirection.
struct EndpointReport {
  EndpointKind kind = EndpointKind::Ebpf;
  std::string why;                      // that kind; empty if an older agent installed it
  std::string implementation;           // a kernel endpoint's name and version
  unsigned roles = 0;                   // CRAB_ROLE_*, in force
  std::vector<std::string> interfaces;  // eBPF: with our programs on them
  bool offers = false;
  std::vector<std::pair<crab_service_key, crab_service>> services;
  std::vector<crab_prefix> prefixes;
  // eBPF: connections that are translated.
  struct Flows {
    std::uint64_t n_open = 0;
    std::uint64_t n_closing = 0;  // closed by the socket, kept for late packets
  };
  std::optional<Flows> flows;
  std::uint64_t n_pending = 0;
  std::uint64_t n_echoes = 0;
  std::vector<CounterReading> counters;
  std::vector<std::pair<crab_tuple, crab_flow>> flow_list;  // only if asked for
};

// What stands between now and removal without harm.
struct Unfinished {
  std::uint64_t n_connections = 0;  // that end if the endpoint goes
  std::uint64_t n_handshakes = 0;   // that may take longer or fail

  bool any() const { return n_connections + n_handshakes > 0; }
};

// An endpoint as it is found, whether or not an agent runs.
class InstalledEndpoint {
 public:
  virtual ~InstalledEndpoint() = default;

  // Throws AgentError.
  virtual EndpointReport report(bool with_flows) const = 0;
  virtual std::vector<CounterReading> counters() const = 0;
  // No more offers; everything else goes on.
  virtual void stop_offering() = 0;
  virtual Unfinished unfinished() = 0;
  // Nothing of it is left in this network namespace; counting of load and the directory stay.
  virtual void uninstall() = 0;
  // The namespace that it was installed in; 0 if it never was whole.
  virtual std::uint64_t netns_cookie() const = 0;
};

// Throws AgentError if there is none.
std::unique_ptr<InstalledEndpoint> find_installed(const PinDirectory& directory);

}  // namespace crab
