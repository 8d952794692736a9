// SPDX-License-Identifier: Apache-2.0
// crab-agent: the command line, and nothing else.
#include <limits.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <map>

#include "control/identity/server_options.h"
#include "kernel_patch/agent/bpf_failure.h"
#include "kernel_patch/agent/doctor.h"
#include "kernel_patch/agent/ebpf_endpoint.h"
#include "kernel_patch/agent/remove.h"
#include "kernel_patch/agent/run.h"
#include "kernel_patch/agent/status.h"

namespace {

constexpr char kDefaultPinDirectory[] = "/sys/fs/bpf/crab";

const std::map<std::string, unsigned> kRoles = {
    {"client", CRAB_ROLE_CLIENT},
    {"server", CRAB_ROLE_SERVER},
    {"both", CRAB_ROLE_CLIENT | CRAB_ROLE_SERVER},
};

const std::map<std::string, crab::EndpointChoice> kChoices = {
    {"auto", crab::EndpointChoice::Auto},
    {"ebpf", crab::EndpointChoice::Ebpf},
    {"netfilter", crab::EndpointChoice::Netfilter},
    {"kernel", crab::EndpointChoice::Kernel},
};

void add_pin_directory(CLI::App* command, std::string* path) {
  command->add_option("--pin-dir", *path, "Where maps and links outlive the agent, on a bpffs")
      ->capture_default_str();
}

void add_place(CLI::App* command, crab::EndpointOptions* endpoint) {
  command->add_option("--role", endpoint->roles, "client, server or both")
      ->required()
      ->transform(CLI::CheckedTransformer(kRoles));
  command
      ->add_option("--endpoint", endpoint->choice,
                   "auto, ebpf, netfilter or kernel; auto, the best that is present, unless the "
                   "file says otherwise")
      ->transform(CLI::CheckedTransformer(kChoices));
  command->add_option("--interface", endpoint->interfaces,
                      "Where the service's packets pass; the eBPF endpoint needs it");
  command
      ->add_option("--cgroup", endpoint->cgroup,
                   "Offer for sockets of its processes (client, eBPF)")
      ->capture_default_str();
  add_pin_directory(command, &endpoint->pin_directory);
}

void add_limit(CLI::App* command, const char* name, std::uint32_t* limit, const char* what) {
  command->add_option(name, *limit, what)->check(CLI::Range(1U, 1U << 24))->capture_default_str();
}

// As crab.v1.AttachRequest has it.
std::string is_agent_name(const std::string& text) {
  constexpr char kAllowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  const bool is_name =
      !text.empty() && text.size() <= 253 && text.find_first_not_of(kAllowed) == std::string::npos;
  return is_name ? "" : "'" + text + "' is not 1 to 253 of [A-Za-z0-9._-]";
}

std::string host_name() {
  char name[HOST_NAME_MAX + 1] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "";
}

void add_run(CLI::App* app, crab::RunOptions* options) {
  CLI::App* command = app->add_subcommand("run", "Install the endpoint, or take it over, and stay");
  crab::EndpointOptions* endpoint = &options->endpoint;
  CLI::Option* config =
      command->add_option("--config", options->config_path, "The file shared with the appliance");
  CLI::Option* appliance =
      command
          ->add_option("--appliance", options->appliances,
                       "Attach to this node's control socket, unix:/PATH or tcp:HOST:PORT, for its "
                       "services and to report load; may be repeated")
          ->expected(1, CRAB_MAX_APPLIANCES)
          ->check(crab::why_no_server, "unix:/PATH or tcp:HOST:PORT");
  crab::add_tls_options(command, &options->tls);
  command->add_option("--name", options->name, "This host's, unique in the fleet")
      ->check(is_agent_name, "name")
      ->capture_default_str();
  add_place(command, endpoint);
  add_limit(command, "--max-flows", &endpoint->max_flows, "Redirected connections (client, eBPF)");
  add_limit(command, "--max-pending", &endpoint->max_pending, "Unanswered SYNs (client, eBPF)");
  add_limit(command, "--max-echoes", &endpoint->max_echoes, "Remembered SYNs (server, eBPF)");
  command->add_flag("!--no-learnt-next-hop", endpoint->learn_next_hop,
                    "Ask the neighbour table for every packet (eBPF)");
  command->callback([options, config, appliance] {
    if (!*config && !*appliance) {
      throw CLI::RequiredError("--config or --appliance");
    }
    for (const std::string& server : options->appliances) {
      const std::string why = crab::why_not_enough(server, options->tls);
      if (!why.empty()) throw CLI::ValidationError("--appliance", why);
    }
    crab::run(*options);
  });
}

void add_doctor(CLI::App* app, crab::DoctorOptions* options) {
  CLI::App* command =
      app->add_subcommand("doctor", "Say why redirection does not work here; exit 1 if it cannot");
  command->add_option("--config", options->config_path, "The file shared with the appliance");
  add_place(command, &options->endpoint);
  command->callback([options] {
    const std::vector<crab::Finding> findings = crab::examine(*options);
    std::fputs(crab::findings_text(findings).c_str(), stdout);
    const bool is_well = std::none_of(
        findings.begin(), findings.end(),
        [](const crab::Finding& finding) { return finding.level == crab::Finding::Level::Fail; });
    if (!is_well) throw CLI::RuntimeError(1);
  });
}

struct StatusOptions {
  std::string pin_directory;
  std::string output = "table";
  bool with_flows = false;
};

void add_status(CLI::App* app, StatusOptions* options) {
  CLI::App* command = app->add_subcommand("status", "Show counters, services and connections");
  add_pin_directory(command, &options->pin_directory);
  command->add_option("-o,--output", options->output, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  command->add_flag("--flows", options->with_flows, "List every redirected connection");
  command->callback([options] {
    const crab::Status status = crab::read_status(options->pin_directory, options->with_flows);
    std::fputs((options->output == "json" ? status_json(status) : status_table(status)).c_str(),
               stdout);
  });
}

void add_remove(CLI::App* app, crab::RemoveOptions* options) {
  CLI::App* command =
      app->add_subcommand("remove", "Stop offering, wait for connections to end, unload");
  add_pin_directory(command, &options->pin_directory);
  command->add_flag("--force", options->force, "Do not wait: what is unfinished breaks");
  command->add_option("--timeout", options->timeout, "Seconds to wait for what is unfinished")
      ->capture_default_str();
  command->callback([options] { crab::remove(*options); });
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("crab-agent: connection redirection on client and backend hosts");
  app.require_subcommand(1);
  crab::RunOptions run_options;
  run_options.endpoint.cgroup = crab::cgroup2_mount();
  run_options.endpoint.pin_directory = kDefaultPinDirectory;
  run_options.name = host_name();
  crab::DoctorOptions doctor_options{.endpoint = run_options.endpoint, .config_path = {}};
  StatusOptions status_options{.pin_directory = kDefaultPinDirectory};
  crab::RemoveOptions remove_options{.pin_directory = kDefaultPinDirectory};
  app.footer(
      "Examples:\n"
      "  crab-agent run --config /etc/crab/crab.yaml --role both --interface eth0\n"
      "  crab-agent run --appliance unix:/run/crab/control.sock --role server --interface eth0\n"
      "  crab-agent run --appliance tcp:lb1:7470 --ca ca.pem --cert host.pem --key host.key \\\n"
      "    --role server --interface eth0\n"
      "  crab-agent run --config /etc/crab/crab.yaml --role client --endpoint netfilter\n"
      "  crab-agent status --flows\n"
      "  crab-agent doctor --config /etc/crab/crab.yaml --role client --interface eth0\n"
      "  crab-agent remove --timeout 600");
  spdlog::set_default_logger(spdlog::stderr_logger_mt("crab-agent"));
  spdlog::set_pattern("%n: %l: %v");
  crab::keep_bpf_complaints();
  add_run(&app, &run_options);
  add_doctor(&app, &doctor_options);
  add_status(&app, &status_options);
  add_remove(&app, &remove_options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  } catch (const std::exception& error) {  // AgentError, and what the system refuses
    std::fprintf(stderr, "crab-agent: %s\n", error.what());
    return 1;
  }
  return 0;
}
