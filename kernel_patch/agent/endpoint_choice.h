// SPDX-License-Identifier: Apache-2.0
// Which endpoint an agent installs, and why. Pure but for find_kernel_endpoint().
#pragma once

#include <optional>
#include <string>

#include "kernel_patch/agent/endpoint_kind.h"
#include "kernel_patch/agent/redirect_messages.h"

namespace crab {

// What the kernel has of its own.
struct KernelSupport {
  std::optional<RedirectInfo> info;  // of what serves the family tcp_redirect
  std::string failure;               // why it cannot be used though it is there
};

// Asks the kernel of this network namespace, which loads the module if it is installed.
KernelSupport find_kernel_support();

// What is installed already, as far as a change of kind would break it.
struct InstalledConnections {
  std::optional<EndpointKind> kind;
  std::uint64_t n_translated = 0;  // connections that only the eBPF programs keep alive
};

struct ChosenEndpoint {
  EndpointKind kind = EndpointKind::Ebpf;
  std::string why;
};

// The best present: the kernel's TCP stack, then the module, then eBPF; or the one that is asked
// for. Throws AgentError, with the remedy, if that is absent, or if connections would break.
ChosenEndpoint choose_endpoint(EndpointChoice asked, const KernelSupport& support,
                               const InstalledConnections& installed);

// "the module crab_redirect 1.0", "the kernel's own TCP stack, series 1.0".
std::string describe(const RedirectInfo& info);
// Of what serves the family.
EndpointKind kind_of(const RedirectInfo& info);

}  // namespace crab
