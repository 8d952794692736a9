// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/kernel_endpoint.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cerrno>
#include <utility>

#include "kernel_patch/agent/accepted_nodes.h"
#include "kernel_patch/agent/endpoint_choice.h"
#include "kernel_patch/agent/endpoint_record.h"

namespace crab {

KernelEndpoint::KernelEndpoint(EndpointKind kind, unsigned roles, const EndpointConfig& config,
                               PinDirectory directory)
    : kind_(kind), roles_(roles), directory_(std::move(directory)), roles_seen_(roles) {
  if (!netlink_.resolve()) throw AgentError("the family tcp_redirect has gone meanwhile");
  if (netlink_.info().roles == 0) netlink_.set(0, config);
  ensure_array(directory_, "sessions", sizeof(crab_session), CRAB_MAX_APPLIANCES);
}

void KernelEndpoint::apply(const EndpointConfig& config) {
  try {
    netlink_.set(roles_, config);
  } catch (const NetlinkRefusal& refusal) {
    if (refusal.error() == ENOENT) config_ = config;
    throw;
  }
  config_ = config;
}

void KernelEndpoint::maintain() {
  std::string trouble;
  try {
    trouble = look_after();
  } catch (const AgentError& error) {
    trouble = error.what();
  }
  if (!trouble.empty() && trouble != trouble_) spdlog::error("{}", trouble);
  trouble_ = std::move(trouble);
}

std::string KernelEndpoint::look_after() {
  if (is_present_) {
    try {
      watch_roles(netlink_.info().roles);
      return "";
    } catch (const NetlinkRefusal& refusal) {
      if (refusal.error() != ENOENT) throw;
    }
    is_present_ = false;
  }
  if (!netlink_.find()) {
    return "the module crab_redirect was unloaded: nothing is redirected until it is loaded again "
           "(modprobe crab_redirect)";
  }
  netlink_.set(roles_, config_);
  is_present_ = true;
  roles_seen_ = roles_;
  spdlog::warn("{} was loaded anew, and is configured again", describe(netlink_.info()));
  return "";
}

// An operator's sysctl is not undone.
void KernelEndpoint::watch_roles(unsigned in_force) {
  if (in_force != std::exchange(roles_seen_, in_force) && in_force != roles_) {
    spdlog::warn("net.ipv4.tcp_redirect is {}, set by someone else; this agent set {}", in_force,
                 roles_);
  }
}

InstalledKernel::InstalledKernel(const PinDirectory& directory)
    : directory_(directory), is_present_(netlink_.find()) {}

EndpointReport InstalledKernel::report(bool) const {
  EndpointReport report;
  if (!is_present_) {
    report.implementation = "not there any more: modprobe crab_redirect";
    return report;
  }
  const RedirectInfo info = netlink_.info();
  report.implementation = describe(info);
  report.roles = info.roles;
  report.offers = (info.roles & CRAB_ROLE_CLIENT) != 0;
  report.services = netlink_.services();
  report.prefixes = netlink_.prefixes();
  report.n_pending = info.n_pending;
  report.n_echoes = info.n_echoes;
  report.counters = netlink_.counters();
  return report;
}

std::vector<CounterReading> InstalledKernel::counters() const {
  return is_present_ ? netlink_.counters() : std::vector<CounterReading>();
}

void InstalledKernel::stop_offering() {
  if (!is_present_) return;
  EndpointConfig without_services;
  without_services.prefixes = netlink_.prefixes();
  netlink_.set(netlink_.info().roles, without_services);
}

Unfinished InstalledKernel::unfinished() {
  if (!is_present_) return {};
  const RedirectInfo info = netlink_.info();
  return {.n_connections = 0, .n_handshakes = std::uint64_t{info.n_pending} + info.n_echoes};
}

void InstalledKernel::uninstall() {
  if (is_present_) netlink_.set(0, {});
  AcceptedNodes::remove(directory_);
}

std::uint64_t InstalledKernel::netns_cookie() const {
  const auto record = read_record(directory_);
  return record ? record->netns_cookie : 0;
}

}  // namespace crab
