// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/endpoint_choice.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include "kernel_patch/agent/agent_error.h"
#include "kernel_patch/agent/tcp_redirect.h"

namespace crab {
namespace {

std::string kernel_release() {
  utsname name{};
  uname(&name);
  return name.release;
}

// The two kinds of the kernel's own, one of which is asked for and is not what the kernel has.
AgentError absent(EndpointKind asked, const KernelSupport& support) {
  const std::string option = fmt::format("endpoint {}", name_of(asked));
  if (!support.failure.empty()) return AgentError(fmt::format("{}: {}", option, support.failure));
  const std::string present =
      support.info ? fmt::format("; there is {}: endpoint {}", describe(*support.info),
                                 name_of(kind_of(*support.info)))
                   : std::string();
  if (asked == EndpointKind::Kernel) {
    return AgentError(fmt::format(
        "{}: the kernel {} is without the patch series: boot one built with kernel_patch/linux-6.1"
        "{}",
        option, kernel_release(), present));
  }
  if (support.info) {
    return AgentError(
        fmt::format("{}: the kernel {} needs no module{}", option, kernel_release(), present));
  }
  return AgentError(fmt::format(
      "{}: the module crab_redirect is not loaded, and the kernel {} could not load it: `modprobe "
      "crab_redirect` says why; docs/endpoints.md has how DKMS installs it",
      option, kernel_release()));
}

ChosenEndpoint best(const KernelSupport& support) {
  if (!support.failure.empty()) {
    return {EndpointKind::Ebpf, fmt::format("{}", support.failure)};
  }
  if (!support.info) {
    return {EndpointKind::Ebpf,
            "kernel patch and netfilter module: absent (no generic netlink family tcp_redirect)"};
  }
  const EndpointKind kind = kind_of(*support.info);
  return {kind, fmt::format("{} is present{}", describe(*support.info),
                            kind == EndpointKind::Netfilter ? "; kernel patch: absent" : "")};
}

std::string translated(std::uint64_t n) {
  return fmt::format("{} connections go by the eBPF endpoint that is installed", n);
}

}  // namespace

EndpointKind kind_of(const RedirectInfo& info) {
  return info.implementation == TCP_REDIRECT_IMPLEMENTATION_MODULE ? EndpointKind::Netfilter
                                                                   : EndpointKind::Kernel;
}

std::string describe(const RedirectInfo& info) {
  return kind_of(info) == EndpointKind::Netfilter
             ? fmt::format("the module crab_redirect {}", info.version)
             : fmt::format("the kernel's own TCP stack, patch series {}", info.version);
}

KernelSupport find_kernel_support() {
  KernelSupport support;
  try {
    TcpRedirectNetlink netlink;
    if (netlink.resolve()) support.info = netlink.info();
  } catch (const AgentError& error) {
    support.failure = fmt::format("the family tcp_redirect cannot be used: {}", error.what());
    return support;
  }
  if (support.info && support.info->implementation != TCP_REDIRECT_IMPLEMENTATION_MODULE &&
      support.info->implementation != TCP_REDIRECT_IMPLEMENTATION_KERNEL) {
    support.failure = fmt::format(
        "the family tcp_redirect is served by implementation {}, which "
        "this crab-agent does not know",
        support.info->implementation);
    support.info.reset();
  }
  return support;
}

ChosenEndpoint choose_endpoint(EndpointChoice asked, const KernelSupport& support,
                               const InstalledConnections& installed) {
  const bool is_translating = installed.kind == EndpointKind::Ebpf && installed.n_translated > 0;
  ChosenEndpoint chosen;
  if (asked == EndpointChoice::Auto) {
    chosen = best(support);
    if (chosen.kind != EndpointKind::Ebpf && is_translating) {
      return {EndpointKind::Ebpf,
              fmt::format("{}, so it stays, though {}: `crab-agent remove` waits for them to end",
                          translated(installed.n_translated), chosen.why)};
    }
    return chosen;
  }
  if (asked == EndpointChoice::Ebpf) return {EndpointKind::Ebpf, "asked for"};
  chosen.kind = asked == EndpointChoice::Kernel ? EndpointKind::Kernel : EndpointKind::Netfilter;
  if (!support.failure.empty() || !support.info || kind_of(*support.info) != chosen.kind) {
    throw absent(chosen.kind, support);
  }
  if (is_translating) {
    throw AgentError(
        fmt::format("endpoint {}: {}: `crab-agent remove` waits for them to end, "
                    "with --force it breaks them",
                    name_of(chosen.kind), translated(installed.n_translated)));
  }
  chosen.why = fmt::format("asked for; {}", describe(*support.info));
  return chosen;
}

}  // namespace crab
