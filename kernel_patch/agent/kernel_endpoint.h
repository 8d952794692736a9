// SPDX-License-Identifier: Apache-2.0
// The endpoint that the kernel has of its own, netfilter module or patched TCP stack: both are the
// generic netlink family tcp_redirect, and keep their configuration themselves. Pinned are only
// what kind it is, the sessions and what counts load.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "kernel_patch/agent/endpoint.h"
#include "kernel_patch/agent/tcp_redirect.h"

namespace crab {

class KernelEndpoint : public RedirectEndpoint {
 public:
  // The family is there, and takes this configuration; checked without effect, so unless it works
  // already. Throws AgentError.
  KernelEndpoint(EndpointKind kind, unsigned roles, const EndpointConfig& config,
                 PinDirectory directory);

  EndpointKind kind() const override { return kind_; }
  void start(const EndpointConfig& config) override { apply(config); }
  const PinDirectory& directory() const override { return directory_; }
  void apply(const EndpointConfig& config) override;
  // Configures the module again if it was unloaded and has come back; loads nothing itself.
  void maintain() override;

 private:
  // What is wrong; empty if nothing is.
  std::string look_after();
  void watch_roles(unsigned in_force);

  const EndpointKind kind_;
  const unsigned roles_;
  PinDirectory directory_;
  TcpRedirectNetlink netlink_;
  EndpointConfig config_;  // what is in force, or shall be once the module is back
  unsigned roles_seen_;
  bool is_present_ = true;  // and has this configuration; not, once the module is unloaded
  std::string trouble_;     // as logged last
};

class InstalledKernel : public InstalledEndpoint {
 public:
  explicit InstalledKernel(const PinDirectory& directory);

  EndpointReport report(bool with_flows) const override;
  std::vector<CounterReading> counters() const override;
  void stop_offering() override;
  // Sockets that were redirected need nothing more; a handshake under way does.
  Unfinished unfinished() override;
  // Roles off, lists empty. The module stays loaded: other namespaces may use it.
  void uninstall() override;
  std::uint64_t netns_cookie() const override;

 private:
  const PinDirectory& directory_;
  mutable TcpRedirectNetlink netlink_;
  bool is_present_;  // the family; not, once the module is unloaded
};

}  // namespace crab
