// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/remove.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <thread>

#include "kernel_patch/agent/agent_error.h"
#include "kernel_patch/agent/ebpf_endpoint.h"
#include "kernel_patch/agent/endpoint_record.h"
#include "kernel_patch/agent/kernel_endpoint.h"
#include "kernel_patch/agent/load_counting.h"

namespace crab {
namespace {

constexpr std::chrono::milliseconds kPoll{500};

std::string what_is_left(const Unfinished& left) {
  if (left.n_handshakes == 0) return fmt::format("{} connections", left.n_connections);
  if (left.n_connections == 0) return fmt::format("{} handshakes", left.n_handshakes);
  return fmt::format("{} connections and {} handshakes", left.n_connections, left.n_handshakes);
}

void drain(InstalledEndpoint* endpoint, std::chrono::seconds timeout) {
  endpoint->stop_offering();
  const auto end = std::chrono::steady_clock::now() + timeout;
  Unfinished left = endpoint->unfinished();
  if (left.any()) spdlog::info("no more offers; waiting for {} to end", what_is_left(left));
  while (left.any()) {
    if (std::chrono::steady_clock::now() >= end) {
      throw AgentError(
          fmt::format("{} are left after {} s: run it again to wait on, or "
                      "with --force to break them{}",
                      what_is_left(left), timeout.count(),
                      left.n_connections == 0
                          ? " (a backend goes on getting them until the appliance has drained it)"
                          : ""));
    }
    std::this_thread::sleep_for(kPoll);
    left = endpoint->unfinished();
  }
}

bool is_elsewhere(const PinDirectory& directory) {
  const auto record = read_record(directory);
  return record && record->netns_cookie != 0 && record->netns_cookie != current_netns_cookie();
}

// What is there, whole or not, and the directory.
void uninstall(const PinDirectory& directory) {
  const auto record = read_record(directory);
  if (!record || record->kind == EndpointKind::Ebpf) {
    InstalledEbpf::remove_all(directory);
  } else if (!is_elsewhere(directory)) {
    InstalledKernel(directory).uninstall();
  }
  LoadCounting::remove(directory);
  directory.clear();
}

}  // namespace

void remove(const RemoveOptions& options) {
  PinDirectory::of_installed(options.pin_directory);
  const PinDirectory directory = PinDirectory::claim(options.pin_directory);
  if (!options.force) {
    if (is_elsewhere(directory)) {
      throw AgentError(
          fmt::format("{} belongs to another network namespace: run this there (nsenter "
                      "--net=...), or with --force if that namespace is gone",
                      options.pin_directory));
    }
    drain(find_installed(directory).get(), options.timeout);
  }
  uninstall(directory);
  spdlog::info("the endpoint at {} is removed", options.pin_directory);
}

}  // namespace crab
