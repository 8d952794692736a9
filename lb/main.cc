// SPDX-License-Identifier: Apache-2.0
// crab-lb: puts the datapath and the control service together. Wiring only.
#include <spdlog/spdlog.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "control/config_file.h"
#include "control/server.h"
#include "control/validate.h"
#include "control/version.h"
#include "lb/dpdk_dataplane.h"
#include "lb/logging.h"
#include "lb/single_instance.h"
#include "policies/registry.h"

namespace {

// Stopping takes at most five seconds for the workers and two for calls in flight. What hangs
// beyond that is ended by SIGALRM, so that systemd need not wait for its own time-out.
constexpr unsigned kExitBoundSeconds = 10;

struct Options {
  std::string config;
  bool check_config = false;
  std::string log_level = "info";
  std::string log_format = "text";
};

std::vector<crab::SocketClaim> claim_sockets(const crab::v1::Control& control) {
  std::vector<crab::SocketClaim> claims;
  constexpr std::string_view kUnix = "unix:";
  for (const std::string& listen : control.listen()) {
    if (listen.starts_with(kUnix)) claims.emplace_back(listen.substr(kUnix.size()));
  }
  return claims;
}

void run(const crab::v1::Config& config) {
  boost::asio::io_context io(1);
  boost::asio::signal_set signals(io, SIGINT, SIGTERM);
  signals.async_wait([&io](const boost::system::error_code& error, int signal) {
    if (error) return;
    spdlog::info("{}: stopping", signal == SIGINT ? "SIGINT" : "SIGTERM");
    alarm(kExitBoundSeconds);
    sd_notify(0, "STOPPING=1");
    io.stop();
  });
  crab::check_machine(config.dataplane(), crab::allowed_cpus());
  const auto claims = claim_sockets(config.control());
  crab::DpdkDataplane dataplane(config, io);
  crab::ControlServer server(config, dataplane, io);
  server.start();
  sd_notify(0, "READY=1");
  spdlog::info("node {} is ready", config.node());
  io.run();
  server.stop();
}

// What load_and_validate() found in the plugin folder.
void log_plugins() {
  for (const auto& policy : crab::known_policies()) {
    if (!policy.path.empty()) spdlog::info("policy {} is from {}", policy.ops->name, policy.path);
  }
  for (const auto& plugin : crab::refused_plugins()) {
    spdlog::warn("policy plugin not used: {} {}", plugin.path, plugin.reason);
  }
}

int load_and_run(const Options& options) {
  const crab::ConfigFile file = crab::load_and_validate(options.config);
  crab::set_up_logging(options.log_level, options.log_format);
  log_plugins();
  for (const std::string& error : file.errors()) std::fprintf(stderr, "%s\n", error.c_str());
  if (!file.ok()) return 1;
  if (options.check_config) {
    std::printf("%s: ok\n", options.config.c_str());
    return 0;
  }
  try {
    run(file.config());
  } catch (const std::exception& error) {
    spdlog::critical("{}", error.what());
    return 1;
  }
  spdlog::info("stopped");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  Options options;
  CLI::App app("crab-lb: connection-redirect load balancer for TCP");
  app.set_version_flag("--version", std::string("crab-lb ") + crab::kVersion);
  app.add_option("--config", options.config, "configuration file (YAML)")->required();
  app.add_flag("--check-config", options.check_config,
               "check the configuration file and exit: 0 if it is valid, 1 and a line for each "
               "error if not");
  app.add_option("--log-level", options.log_level, "least severe level to log")
      ->check(CLI::IsMember({"trace", "debug", "info", "warning", "error", "critical", "off"}))
      ->capture_default_str();
  app.add_option("--log-format", options.log_format, "of the log on standard error")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return load_and_run(options);
}
