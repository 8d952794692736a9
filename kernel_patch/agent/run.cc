// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/run.h"

#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>

#include "kernel_patch/agent/agent_error.h"
#include "kernel_patch/agent/next_hop_keeper.h"

namespace crab {
namespace {

UniqueFd block_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, number);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  return UniqueFd(signalfd(-1, &set, SFD_CLOEXEC));
}

void reload(const RunOptions& options, const Endpoint& endpoint) {
  sd_notify(0, "RELOADING=1");
  try {
    const EndpointConfig config = load_endpoint_config(options.config_path);
    endpoint.maps().apply(config);
    spdlog::info("{} read again: {} services, {} allowed prefixes", options.config_path,
                 config.services.size(), config.prefixes.size());
  } catch (const AgentError& error) {
    spdlog::error("{}; the configuration before stays in force", error.what());
  }
  sd_notify(0, "READY=1");
}

}  // namespace

void run(const RunOptions& options) {
  const UniqueFd signals = block_signals();
  const EndpointConfig config = load_endpoint_config(options.config_path);
  const Endpoint endpoint(options.endpoint, config);
  spdlog::info("on {}: {} services, {} allowed prefixes, pinned at {}",
               fmt::join(options.endpoint.interfaces, ", "), config.services.size(),
               config.prefixes.size(), options.endpoint.pin_directory);

  // Only the client's sockets route to virtual addresses.
  std::optional<NextHopKeeper> keeper;
  if (options.endpoint.roles & CRAB_ROLE_CLIENT) {
    keeper.emplace(endpoint.maps(), endpoint.interfaces());
  }
  sd_notify(0, "READY=1");
  pollfd events[] = {{signals.get(), POLLIN, 0}, {keeper ? keeper->fd() : -1, POLLIN, 0}};
  auto next_sweep = std::chrono::steady_clock::now();
  for (;;) {
    const int n = poll(events, 2, static_cast<int>(options.sweep_interval.count()));
    if (n < 0 && errno != EINTR) {
      throw AgentError(fmt::format("poll: {}", std::strerror(errno)));
    }
    if (n > 0 && (events[1].revents & POLLIN) != 0) keeper->follow();
    if (std::chrono::steady_clock::now() >= next_sweep) {
      endpoint.sweep();
      next_sweep = std::chrono::steady_clock::now() + options.sweep_interval;
    }
    if (n <= 0 || (events[0].revents & POLLIN) == 0) continue;
    signalfd_siginfo info{};
    if (read(signals.get(), &info, sizeof info) != sizeof info) continue;
    if (info.ssi_signo != SIGHUP) break;
    reload(options, endpoint);
  }
  sd_notify(0, "STOPPING=1");
  spdlog::info("ends; the endpoint stays installed, `crab-agent remove` removes it");
}

}  // namespace crab
