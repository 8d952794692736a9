// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/drain_commands.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <thread>

namespace crab {
namespace {

using v1::BackendService;

constexpr std::chrono::milliseconds kPollInterval{250};

std::string joined(const std::vector<std::string>& ids) {
  std::string text;
  for (const auto& id : ids) text += (text.empty() ? "" : ", ") + id;
  return text;
}

// Until none of them drains any more, with a line for each.
void wait_drained(Client* client, const Options& options) {
  std::set<std::string> waiting(options.ids.begin(), options.ids.end());
  std::string not_empty;
  while (!waiting.empty()) {
    const auto list = list_all_backends(client, options.name);
    std::set<std::string> draining;
    for (const auto& backend : list.backends()) {
      if (!waiting.contains(backend.id())) continue;
      if (backend.status().state() == v1::BACKEND_STATE_DRAINING) draining.insert(backend.id());
      if (backend.status().state() != v1::BACKEND_STATE_DRAINED) continue;
      if (options.format == "table") {
        std::printf("%s: %s\n", backend.id().c_str(), backend.status().reason().c_str());
        std::fflush(stdout);
      }
      if (backend.status().drain().drained_by() != v1::DRAINED_BY_ZERO_CONNECTIONS) {
        not_empty += (not_empty.empty() ? "" : ", ") + backend.id();
      }
    }
    for (const auto& id : waiting) {
      const bool known = std::any_of(list.backends().begin(), list.backends().end(),
                                     [&](const auto& backend) { return backend.id() == id; });
      if (!known && options.format == "table") std::printf("%s: gone\n", id.c_str());
    }
    waiting = std::move(draining);
    if (!waiting.empty()) std::this_thread::sleep_for(kPollInterval);
  }
  if (!not_empty.empty()) {
    throw CallError(ExitCode::Refused, "not known to be without connections: " + not_empty);
  }
}

void deregister(const Options& options, bool has_timeout) {
  v1::DeregisterBackendsRequest request;
  request.set_service(options.name);
  for (const auto& id : options.ids) request.add_ids(id);
  if (has_timeout) request.set_drain_timeout_seconds(options.drain_seconds);
  request.set_force(options.force);
  request.set_reason(options.reason);
  Client client = connect(options);
  const auto response = client.call(&BackendService::Stub::DeregisterBackends, request);
  const std::string text = joined({response.removed_ids().begin(), response.removed_ids().end()});
  print(options, response,
        (text.empty() ? "none was registered" : "deregistered " + text) +
            at_revision(response.revision()));
  if (options.wait) wait_drained(&client, options);
}

void drain(const Options& options, bool has_timeout) {
  v1::DrainBackendsRequest request;
  request.set_service(options.name);
  for (const auto& id : options.ids) request.add_ids(id);
  if (has_timeout) request.set_drain_timeout_seconds(options.drain_seconds);
  request.set_reason(options.reason);
  Client client = connect(options);
  const auto response = client.call(&BackendService::Stub::DrainBackends, request);
  print(options, response, "draining " + joined(options.ids) + at_revision(response.revision()));
  if (options.wait) wait_drained(&client, options);
}

void maintain(const Options& options, bool on) {
  v1::SetMaintenanceRequest request;
  request.set_service(options.name);
  for (const auto& id : options.ids) request.add_ids(id);
  request.set_maintenance(on);
  request.set_reason(options.reason);
  const auto response = connect(options).call(&v1::ServiceAdmin::Stub::SetMaintenance, request);
  print(options, response,
        (on ? "in maintenance: " : "in service: ") + joined(options.ids) +
            at_revision(response.revision()));
}

CLI::Option* add_drain_options(CLI::App* command, Options* options) {
  command->add_option("SERVICE", options->name)->required();
  command->add_option("ID", options->ids)->required();
  command->add_option("--reason", options->reason, "shown in the backends' status");
  command->add_flag("--wait", options->wait,
                    "until they are drained; status 1 if one had, or may have, connections left");
  return command->add_option("--drain", options->drain_seconds,
                             "seconds they may drain (default: 300); 0: none");
}

}  // namespace

void add_drain_commands(CLI::App* backend, Options* options) {
  auto* remove = backend->add_subcommand(
      "deregister", "has backends drain, and removes them; unknown ids are no error");
  auto* timeout = add_drain_options(remove, options);
  remove->add_flag("--force", options->force, "removes them at once");
  remove->footer(
      "Examples:\n  crabctl backend deregister web b1 b2\n"
      "  crabctl backend deregister web b3 --drain 0\n"
      "They get no new connections; established ones live on.");
  remove->callback([options, timeout] { deregister(*options, timeout->count() > 0); });

  auto* stay = backend->add_subcommand(
      "drain", "has backends drain and stay, until they are registered again or deregistered");
  auto* stay_timeout = add_drain_options(stay, options);
  stay->footer("Example:\n  crabctl backend drain web b1 --drain 60 --wait");
  stay->callback([options, stay_timeout] { drain(*options, stay_timeout->count() > 0); });

  for (const bool on : {true, false}) {
    auto* command = backend->add_subcommand(
        on ? "disable" : "enable",
        on ? "puts backends into maintenance: no new connections, whoever registers them again"
           : "takes backends out of maintenance");
    command->add_option("SERVICE", options->name)->required();
    command->add_option("ID", options->ids)->required();
    if (on) command->add_option("--reason", options->reason, "shown in the backends' status");
    command->footer(std::string("Example:\n  crabctl backend ") + (on ? "disable" : "enable") +
                    " web b1");
    command->callback([options, on] { maintain(*options, on); });
  }
}

}  // namespace crab
