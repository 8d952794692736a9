// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/endpoint.h"

#include <asm/socket.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <system_error>
#include <thread>

#include "kernel_patch/agent/agent_error.h"
#include "kernel_patch/agent/ebpf_endpoint.h"
#include "kernel_patch/agent/endpoint_choice.h"
#include "kernel_patch/agent/endpoint_record.h"
#include "kernel_patch/agent/kernel_endpoint.h"

namespace crab {
namespace {

// A handshake takes a round trip; what takes longer repeats its SYN anyway.
constexpr std::chrono::milliseconds kHandshakes{500};
constexpr std::chrono::milliseconds kPoll{20};

InstalledConnections connections_of(const PinDirectory& directory) {
  const auto record = read_record(directory);
  if (!record) return {};
  InstalledConnections found{.kind = record->kind, .n_translated = 0};
  if (record->kind == EndpointKind::Ebpf && InstalledEbpf::is_whole(directory)) {
    found.n_translated = InstalledEbpf(directory).unfinished().n_connections;
  }
  return found;
}

void check_namespace(const PinDirectory& directory, const std::string& path) {
  const auto record = read_record(directory);
  if (!record || record->netns_cookie == 0 || record->netns_cookie == current_netns_cookie()) {
    return;
  }
  throw AgentError(fmt::format(
      "{} belongs to another network namespace: give this agent another --pin-dir, or run "
      "`crab-agent remove --force --pin-dir {}` if that namespace is gone",
      path, path));
}

// The other kind goes before this one starts: two in one role would both write the option.
// Handshakes of these moments may need a second SYN; connections do not notice.
void remove_other_kind(const PinDirectory& directory, EndpointKind kind) {
  const auto record = read_record(directory);
  const bool is_ebpf = kind == EndpointKind::Ebpf;
  if (!record || (record->kind == EndpointKind::Ebpf) == is_ebpf) return;
  if (record->kind == EndpointKind::Ebpf && !InstalledEbpf::is_whole(directory)) {
    InstalledEbpf::remove_all(directory);
    return;
  }
  const std::unique_ptr<InstalledEndpoint> other = find_installed(directory);
  other->stop_offering();
  const auto end = std::chrono::steady_clock::now() + kHandshakes;
  while (other->unfinished().n_handshakes > 0 && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(kPoll);
  }
  other->uninstall();
  forget_record(directory);
  spdlog::info("the endpoint {} that was installed is removed", name_of(record->kind));
}

std::unique_ptr<RedirectEndpoint> make_endpoint(EndpointKind kind, const EndpointOptions& options,
                                                const EndpointConfig& config,
                                                std::vector<Interface> interfaces,
                                                PinDirectory directory) {
  if (kind != EndpointKind::Ebpf) {
    return std::make_unique<KernelEndpoint>(kind, options.roles, config, std::move(directory));
  }
  const auto record = read_record(directory);
  try {
    return std::make_unique<EbpfEndpoint>(options, std::move(interfaces), std::move(directory));
  } catch (const AgentError&) {
    // Maps that it has pinned by then are nobody's.
    if (record && record->kind != EndpointKind::Ebpf) {
      InstalledEbpf::remove_all(PinDirectory::unclaimed(options.pin_directory));
    }
    throw;
  }
}

}  // namespace

std::uint64_t current_netns_cookie() {
  const UniqueFd probe(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  std::uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  if (getsockopt(probe.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) != 0) {
    throw AgentError(
        fmt::format("the kernel does not tell its network namespace: {}; "
                    "crab-agent needs Linux 6.1 or later",
                    std::generic_category().message(errno)));
  }
  return cookie;
}

std::unique_ptr<RedirectEndpoint> install_endpoint(const EndpointOptions& options,
                                                   const EndpointConfig& config) {
  if (geteuid() != 0) {
    throw AgentError(
        "crab-agent needs root, for BPF, tc, netlink and the cgroup: run it with sudo");
  }
  const ChosenEndpoint chosen =
      choose_endpoint(options.choice.value_or(config.choice), find_kernel_support(),
                      connections_of(PinDirectory::unclaimed(options.pin_directory)));
  std::vector<Interface> interfaces;
  if (chosen.kind == EndpointKind::Ebpf) interfaces = EbpfEndpoint::check(options, chosen.why);

  PinDirectory directory = PinDirectory::claim(options.pin_directory);
  check_namespace(directory, options.pin_directory);
  spdlog::info("endpoint {}: {}", name_of(chosen.kind), chosen.why);
  std::unique_ptr<RedirectEndpoint> endpoint =
      make_endpoint(chosen.kind, options, config, std::move(interfaces), std::move(directory));
  remove_other_kind(endpoint->directory(), chosen.kind);
  endpoint->start(config);
  write_record(endpoint->directory(), {.kind = chosen.kind,
                                       .netns_cookie = current_netns_cookie(),
                                       .roles = options.roles,
                                       .why = chosen.why});
  return endpoint;
}

std::unique_ptr<InstalledEndpoint> find_installed(const PinDirectory& directory) {
  const auto record = read_record(directory);
  if (!record) throw AgentError(fmt::format("no endpoint is installed at {}", directory.pin("")));
  if (record->kind == EndpointKind::Ebpf) return std::make_unique<InstalledEbpf>(directory);
  return std::make_unique<InstalledKernel>(directory);
}

}  // namespace crab
