// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/remove.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <thread>

#include "kernel_patch/agent/agent_error.h"
#include "kernel_patch/agent/endpoint.h"

namespace crab {
namespace {

constexpr std::chrono::milliseconds kPoll{500};

std::uint64_t n_left(const PinDirectory& directory, const KernelMaps& maps) {
  sweep(directory);
  const FlowTotals flows = maps.flow_totals();
  return flows.n_open + flows.n_closing + maps.n_pending();
}

// A connection lives in the flow table until late packets are over: seconds after a close by the
// server, 130 s after one by the client.
void drain(const PinDirectory& directory, const KernelMaps& maps, std::chrono::seconds timeout) {
  maps.clear_services();
  const auto end = std::chrono::steady_clock::now() + timeout;
  std::uint64_t left = n_left(directory, maps);
  if (left > 0) spdlog::info("no more offers; waiting for {} connections to end", left);
  while (left > 0) {
    if (std::chrono::steady_clock::now() >= end) {
      throw AgentError(
          fmt::format("{} connections are left after {} s: run it again to wait on, or "
                      "with --force to break them",
                      left, timeout.count()));
    }
    std::this_thread::sleep_for(kPoll);
    left = n_left(directory, maps);
  }
}

void check_namespace(const KernelMaps& maps, const std::string& path) {
  const std::uint64_t owner = maps.settings().netns_cookie;
  if (owner == 0 || owner == current_netns_cookie()) return;
  throw AgentError(
      fmt::format("{} belongs to another network namespace: run this there (nsenter "
                  "--net=...), or with --force if that namespace is gone",
                  path));
}

}  // namespace

void remove(const RemoveOptions& options) {
  PinDirectory::of_installed(options.pin_directory);
  const PinDirectory directory = PinDirectory::claim(options.pin_directory);
  if (!options.force) {
    const KernelMaps maps(directory);
    check_namespace(maps, options.pin_directory);
    drain(directory, maps, options.timeout);
  }
  uninstall(directory);
  spdlog::info("the endpoint at {} is removed", options.pin_directory);
}

}  // namespace crab
