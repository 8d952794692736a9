// SPDX-License-Identifier: Apache-2.0
// The eBPF endpoint: loading the programs, attaching them, taking over from an agent before, and
// taking everything away again.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernel_patch/agent/endpoint.h"
#include "kernel_patch/agent/kernel_maps.h"
#include "kernel_patch/agent/next_hop_keeper.h"
#include "kernel_patch/agent/tc_attachment.h"

struct crab_bpf;  // the generated skeleton

namespace crab {

// Where the cgroup v2 hierarchy is mounted, the first if several; /sys/fs/cgroup if nowhere.
std::string cgroup2_mount();

class EbpfEndpoint : public RedirectEndpoint {
 public:
  // Everything that can be wrong with the options, before anything is changed. why this endpoint,
  // for the message. Throws AgentError.
  static std::vector<Interface> check(const EndpointOptions& options, const std::string& why);

  // Loads, with the maps that are pinned. interfaces are what check() found; options outlive this.
  // Throws AgentError.
  EbpfEndpoint(const EndpointOptions& options, std::vector<Interface> interfaces,
               PinDirectory directory);
  ~EbpfEndpoint() override;

  EndpointKind kind() const override { return EndpointKind::Ebpf; }
  // Installs, or takes over, in the order configuration, tc, sockets.
  void start(const EndpointConfig& config) override;
  const PinDirectory& directory() const override { return directory_; }
  void apply(const EndpointConfig& config) override { maps_->apply(config); }
  // Removes expired flows and pending entries.
  void maintain() override;
  // Of the dead appliance's neighbour entry, with the client role.
  int event_fd() const override { return keeper_ ? keeper_->fd() : -1; }
  void follow() override { keeper_->follow(); }

 private:
  void load();
  void attach_sockets() const;

  const EndpointOptions& options_;
  std::vector<Interface> interfaces_;
  PinDirectory directory_;
  std::unique_ptr<crab_bpf, void (*)(crab_bpf*)> programs_;
  std::unique_ptr<KernelMaps> maps_;
  std::optional<NextHopKeeper> keeper_;
};

class InstalledEbpf : public InstalledEndpoint {
 public:
  explicit InstalledEbpf(const PinDirectory& directory) : directory_(directory), maps_(directory) {}

  EndpointReport report(bool with_flows) const override;
  std::vector<CounterReading> counters() const override { return maps_.counters(); }
  void stop_offering() override { maps_.clear_services(); }
  // A connection lives in the flow table until late packets are over: seconds after a close by the
  // server, 130 s after one by the client.
  Unfinished unfinished() override;
  void uninstall() override { remove_all(directory_); }
  std::uint64_t netns_cookie() const override { return maps_.settings().netns_cookie; }

  // Whether every map is there; not, if an installation failed half-way.
  static bool is_whole(const PinDirectory& directory);
  // Whole or not: sockets, egress, ingress, maps.
  static void remove_all(const PinDirectory& directory);

 private:
  const PinDirectory& directory_;
  KernelMaps maps_;
};

}  // namespace crab
