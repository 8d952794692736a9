// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/run.h"

#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <iterator>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>

#include "kernel_patch/agent/accepted_nodes.h"
#include "kernel_patch/agent/agent_error.h"
#include "kernel_patch/agent/appliances.h"
#include "kernel_patch/agent/host_addresses.h"
#include "kernel_patch/agent/load_counting.h"
#include "kernel_patch/agent/load_reporter.h"

namespace crab {
namespace {

using Clock = std::chrono::steady_clock;

// A node takes reports of a session that has not ended: the goodbye first, then the stream's end.
constexpr std::chrono::milliseconds kAfterGoodbye{50};

UniqueFd block_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, number);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return UniqueFd(signalfd(-1, &set, SFD_CLOEXEC));
}

EndpointConfig configuration(const RunOptions& options) {
  return options.config_path.empty() ? EndpointConfig() : load_endpoint_config(options.config_path);
}

// Those of the file that are this host's.
std::vector<SocketAddress> own_backends(const EndpointConfig& config) {
  const std::vector<IpAddress> own = host_addresses();
  std::vector<SocketAddress> result;
  std::copy_if(config.backends.begin(), config.backends.end(), std::back_inserter(result),
               [&own](const SocketAddress& backend) {
                 return std::binary_search(own.begin(), own.end(), backend.address);
               });
  return result;
}

class Agent {
 public:
  explicit Agent(const RunOptions& options)
      : options_(options),
        signals_(block_signals()),
        config_(configuration(options)),
        endpoint_(install_endpoint(options.endpoint, config_)),
        sessions_(endpoint_->directory(), "sessions", CRAB_MAX_APPLIANCES) {
    for (std::size_t i = 0; i < CRAB_MAX_APPLIANCES; ++i) sessions_[i] = {};
    if (options.endpoint.roles & CRAB_ROLE_SERVER) {
      count_load();
    } else {
      LoadCounting::remove(endpoint_->directory());
    }
    if (!options.appliances.empty()) {
      appliances_.emplace(options.appliances, options.tls, options.name, sessions_,
                          reporter_ ? &*reporter_ : nullptr);
    }
    spdlog::info("{} services, {} allowed prefixes, {} nodes, pinned at {}",
                 config_.services.size(), config_.prefixes.size(), options.appliances.size(),
                 options.endpoint.pin_directory);
  }

  ~Agent() {
    if (!reporter_) return;
    reporter_->finish();
    if (appliances_) std::this_thread::sleep_for(kAfterGoodbye);
  }

  void run() {
    pollfd events[] = {{signals_.get(), POLLIN, 0},
                       {endpoint_->event_fd(), POLLIN, 0},
                       {appliances_ ? appliances_->fd() : -1, POLLIN, 0}};
    const auto interval = std::min(options_.sweep_interval, options_.audit_interval);
    for (;;) {
      const int n = poll(events, std::size(events), static_cast<int>(interval.count()));
      if (n < 0 && errno != EINTR) {
        throw AgentError(fmt::format("poll: {}", std::generic_category().message(errno)));
      }
      if (n > 0 && (events[1].revents & POLLIN) != 0) endpoint_->follow();
      if (n > 0 && (events[2].revents & POLLIN) != 0) follow_appliances();
      do_regular_work();
      if (n <= 0 || (events[0].revents & POLLIN) == 0) continue;
      signalfd_siginfo info{};
      if (read(signals_.get(), &info, sizeof info) != sizeof info) continue;
      if (info.ssi_signo != SIGHUP) return;
      reload();
    }
  }

 private:
  // Only servers have backends.
  void count_load() {
    const PinDirectory& directory = endpoint_->directory();
    const bool is_ebpf = endpoint_->kind() == EndpointKind::Ebpf;
    counting_.emplace(directory, current_netns_cookie(), is_ebpf);
    if (!is_ebpf) nodes_.emplace(directory, counting_->maps());
    reporter_.emplace(*counting_, sessions_, nodes_ ? &*nodes_ : nullptr, own_backends(config_));
  }

  // Listing sockets costs by how many there are, TIME-WAIT ones included: with very many it is done
  // so seldom that it takes a hundredth of a CPU.
  void plan_audit(Clock::time_point begun) {
    const auto now = Clock::now();
    next_audit_ = now + std::max<Clock::duration>(options_.audit_interval, 99 * (now - begun));
  }

  void do_regular_work() {
    const auto now = Clock::now();
    if (now >= next_sweep_) {
      endpoint_->maintain();
      next_sweep_ = now + options_.sweep_interval;
    }
    if (now < next_audit_) return;
    if (appliances_) appliances_->show_presence();
    try {
      if (reporter_) reporter_->audit();
      if (appliances_) appliances_->follow_addresses();
      is_blind_ = false;
    } catch (const std::exception& error) {  // the kernel's tables; counting goes on without
      if (!is_blind_) spdlog::error("{}", error.what());
      is_blind_ = true;
    }
    plan_audit(now);
  }

  void follow_appliances() {
    const std::optional<EndpointConfig> config = appliances_->take_config();
    if (!config) return;
    try {
      endpoint_->apply(*config);
      is_told_ = true;
    } catch (const AgentError& error) {
      spdlog::error("{}", error.what());
    }
  }

  void reload() {
    if (options_.config_path.empty()) return;
    sd_notify(0, "RELOADING=1");
    try {
      EndpointConfig read = configuration(options_);
      if (read.choice != config_.choice) {
        spdlog::warn("agent.endpoint has changed: the next start follows it");
      }
      config_ = std::move(read);
      if (!is_told_) endpoint_->apply(config_);
      if (reporter_) reporter_->set_own(own_backends(config_));
      spdlog::info("{} read again: {} services, {} allowed prefixes{}", options_.config_path,
                   config_.services.size(), config_.prefixes.size(),
                   is_told_ ? "; what the nodes say stays in force" : "");
    } catch (const std::exception& error) {
      spdlog::error("{}; the configuration before stays in force", error.what());
    }
    sd_notify(0, "READY=1");
  }

  const RunOptions& options_;
  const UniqueFd signals_;
  EndpointConfig config_;  // the file's
  const std::unique_ptr<RedirectEndpoint> endpoint_;
  const SharedMap<crab_session> sessions_;
  std::optional<LoadCounting> counting_;
  std::optional<AcceptedNodes> nodes_;  // with an endpoint in the kernel
  std::optional<LoadReporter> reporter_;
  std::optional<Appliances> appliances_;
  bool is_told_ = false;   // a node's services are in force instead of the file's
  bool is_blind_ = false;  // the last look at the kernel's tables failed
  Clock::time_point next_sweep_ = Clock::now();
  Clock::time_point next_audit_ = Clock::now();
};

}  // namespace

void run(const RunOptions& options) {
  {
    Agent agent(options);
    sd_notify(0, "READY=1");
    agent.run();
    sd_notify(0, "STOPPING=1");
  }
  spdlog::info("ends; the endpoint stays installed, `crab-agent remove` removes it");
}

}  // namespace crab
