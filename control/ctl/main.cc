// SPDX-License-Identifier: Apache-2.0
// crabctl: the operator's command line. Each command is one or two calls of the API.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "control/ctl/access_commands.h"
#include "control/ctl/backend_argument.h"
#include "control/ctl/command.h"
#include "control/ctl/drain_commands.h"
#include "control/ctl/print_policy.h"
#include "control/version.h"

namespace crab {
namespace {

using v1::BackendService;
using v1::ServiceAdmin;
using v1::StatsService;

void service_list(const Options& options) {
  Client client = connect(options);
  const auto services = client.call(&ServiceAdmin::Stub::ListServices, v1::ListServicesRequest());
  v1::GetStatsResponse stats;
  if (options.format == "table") {
    stats = client.call(&StatsService::Stub::GetStats, v1::GetStatsRequest());
  }
  print(options, services, service_table(services, stats));
}

void service_show(const Options& options) {
  Client client = connect(options);
  auto backends = list_all_backends(&client, options.name);
  const auto services = client.call(&ServiceAdmin::Stub::ListServices, v1::ListServicesRequest());
  for (v1::Service service : services.services()) {
    if (service.name() != options.name) continue;
    service.mutable_backends()->Swap(backends.mutable_backends());
    return print(options, service, service_details(service));
  }
  throw CallError(ExitCode::Refused, "service '" + options.name + "' has just been deleted");
}

// What the command line's checks have let through parses.
void add_backends(const std::vector<std::string>& words,
                  google::protobuf::RepeatedPtrField<v1::Backend>* backends) {
  for (const auto& word : words) parse_backend(word, backends->Add());
}

void add_parameters(const std::vector<std::string>& words, v1::Policy* policy) {
  for (const auto& word : words) {
    const auto equals = word.find('=');
    (*policy->mutable_parameters())[word.substr(0, equals)] = word.substr(equals + 1);
  }
}

void service_create(const Options& options) {
  v1::CreateServiceRequest request;
  v1::Service& service = *request.mutable_service();
  service = options.service;
  service.set_name(options.name);
  add_parameters(options.parameters, service.mutable_policy());
  for (const auto& key : options.keys) service.add_keys(key);
  service.set_announce(options.announce == "none" ? v1::ANNOUNCE_NONE : v1::ANNOUNCE_ARP);
  service.set_option_form(options.form == "paper" ? v1::OPTION_FORM_PAPER : v1::OPTION_FORM_CRAB);
  service.mutable_load_signal()->set_source(
      options.load_signal == "orca" ? v1::LoadSignal::SOURCE_ORCA : v1::LoadSignal::SOURCE_AGENT);
  add_backends(options.backends, service.mutable_backends());
  const auto response = connect(options).call(&ServiceAdmin::Stub::CreateService, request);
  print(options, response,
        "service " + options.name + " is in place" + at_revision(response.revision()));
}

void service_delete(const Options& options) {
  v1::DeleteServiceRequest request;
  request.set_name(options.name);
  const auto response = connect(options).call(&ServiceAdmin::Stub::DeleteService, request);
  print(options, response,
        "service " + options.name + " is deleted" + at_revision(response.revision()));
}

void policy_list(const Options& options) {
  const auto response =
      connect(options).call(&ServiceAdmin::Stub::ListPolicies, v1::ListPoliciesRequest());
  print(options, response, policy_tables(response));
}

void policy_describe(const Options& options) {
  const auto response =
      connect(options).call(&ServiceAdmin::Stub::ListPolicies, v1::ListPoliciesRequest());
  for (const auto& policy : response.policies()) {
    if (policy.name() == options.name) return print(options, policy, policy_details(policy));
  }
  throw CallError(ExitCode::Refused,
                  "no policy is called '" + options.name + "'; crabctl policy list shows all");
}

void policy_set(const Options& options) {
  v1::SetPolicyRequest request;
  request.set_service(options.name);
  *request.mutable_policy() = options.service.policy();
  add_parameters(options.parameters, request.mutable_policy());
  const auto response = connect(options).call(&ServiceAdmin::Stub::SetPolicy, request);
  print(options, response,
        "service " + options.name + " is balanced by " + policy_of(response.service().policy()) +
            at_revision(response.revision()));
}

void backend_list(const Options& options) {
  Client client = connect(options);
  const auto response = list_all_backends(&client, options.name);
  print(options, response, backend_table(response.backends()));
}

void backend_register(const Options& options, bool has_weight) {
  v1::RegisterBackendsRequest request;
  request.set_service(options.name);
  add_backends(options.backends, request.mutable_backends());
  if (options.backends.empty()) {
    *request.add_backends() = options.backend;
    if (has_weight) request.mutable_backends(0)->set_weight(options.weight);
  }
  const auto response = connect(options).call(&BackendService::Stub::RegisterBackends, request);
  print(options, response, backend_table(response.backends()));
}

void stats(const Options& options) {
  const auto response = connect(options).call(&StatsService::Stub::GetStats, v1::GetStatsRequest());
  print(options, response, stats_tables(response, options.all));
}

const CLI::Validator kIsBackend(
    [](std::string& text) {
      v1::Backend ignored;
      return parse_backend(text, &ignored);
    },
    kBackendArgument);
const CLI::Validator kIsParameter(
    [](const std::string& text) {
      return text.find('=') == std::string::npos ? "'" + text + "' is not NAME=VALUE" : "";
    },
    "NAME=VALUE");

void add_service_commands(CLI::App* app, Options* options) {
  auto* service = app->add_subcommand("service", "virtual services");
  service->require_subcommand(1);

  auto* list = service->add_subcommand("list", "lists the services, with their counts");
  list->footer("Example:\n  crabctl service list -o json");
  list->callback([options] { service_list(*options); });

  auto* show = service->add_subcommand("show", "shows a service and its backends");
  show->add_option("NAME", options->name, "of the service")->required();
  show->footer("Example:\n  crabctl service show web");
  show->callback([options] { service_show(*options); });

  auto* create =
      service->add_subcommand("create", "creates a service; repeating it changes nothing");
  create->add_option("NAME", options->name, "lower-case letters, digits, hyphens")->required();
  create
      ->add_option_function<std::string>(
          "--address", [options](const auto& text) { options->service.set_address(text); },
          "virtual address, IPv4 or IPv6")
      ->required();
  create
      ->add_option_function<std::uint32_t>(
          "--port", [options](const auto& port) { options->service.set_port(port); },
          "TCP port that clients connect to")
      ->required();
  create->add_option_function<std::string>(
      "--policy",
      [options](const auto& name) { options->service.mutable_policy()->set_name(name); },
      "balancing policy (default: round_robin)");
  create->add_option("--parameter", options->parameters, "of the policy; may be repeated")
      ->check(kIsParameter);
  create->add_option("--backend", options->backends, "its first backends; may be repeated")
      ->check(kIsBackend);
  create->add_option("--key", options->keys,
                     "service key, 32 hexadecimal digits; at most two. Others may read a command "
                     "line: prefer the configuration file");
  create->add_option("--announce", options->announce, "whether to answer ARP and ND")
      ->check(CLI::IsMember({"arp", "none"}))
      ->capture_default_str();
  create->add_option("--option-form", options->form, "TCP option to use")
      ->check(CLI::IsMember({"crab", "paper"}))
      ->capture_default_str();
  create->add_option_function<std::uint32_t>(
      "--ramp-seconds",
      [options](const auto& seconds) {
        options->service.mutable_slow_start()->set_ramp_seconds(seconds);
      },
      "slow start: how long a backend takes up its weight (default: 0, none)");
  create
      ->add_option("--load-signal", options->load_signal,
                   "open connections, as crab-agent counts them, or what backends report by ORCA")
      ->check(CLI::IsMember({"agent", "orca"}))
      ->capture_default_str();
  create->add_option_function<std::string>(
      "--orca-metric",
      [options](const auto& metric) { options->service.mutable_load_signal()->set_metric(metric); },
      "of ORCA's reports (default: application_utilization)");
  create->add_option_function<std::uint32_t>(
      "--orca-port",
      [options](const auto& port) { options->service.mutable_load_signal()->set_port(port); },
      "of the backends' ORCA service (default: the backend's own)");
  create->footer(
      "Examples:\n"
      "  crabctl service create web --address 10.0.0.100 --port 80\n"
      "  crabctl service create web6 --address fd00::100 --port 80 --policy random \\\n"
      "    --backend b1=[fd00::11]:8080 --backend b2=[fd00::12]:8080,weight=2");
  create->callback([options] { service_create(*options); });

  auto* remove = service->add_subcommand("delete", "deletes a service with its backends");
  remove->add_option("NAME", options->name, "of the service")->required();
  remove->footer(
      "Example:\n  crabctl service delete web\n"
      "Established connections live on. What the configuration file owns is deleted "
      "there.");
  remove->callback([options] { service_delete(*options); });
}

void add_policy_commands(CLI::App* app, Options* options) {
  auto* policy = app->add_subcommand("policy", "balancing policies");
  policy->require_subcommand(1);

  auto* list = policy->add_subcommand("list", "lists the policies that crab-lb knows");
  list->footer("Example:\n  crabctl policy list");
  list->callback([options] { policy_list(*options); });

  auto* describe = policy->add_subcommand("describe", "shows a policy and its parameters");
  describe->add_option("NAME", options->name, "of the policy")->required();
  describe->footer("Example:\n  crabctl policy describe maglev");
  describe->callback([options] { policy_describe(*options); });

  auto* set = policy->add_subcommand(
      "set", "has a service balanced by another policy, or by the same with other parameters");
  set->add_option("SERVICE", options->name)->required();
  set->add_option_function<std::string>(
         "NAME", [options](const auto& name) { options->service.mutable_policy()->set_name(name); },
         "of the policy")
      ->required();
  set->add_option("PARAMETER", options->parameters, "of the policy; others get their defaults")
      ->check(kIsParameter);
  set->footer(
      "Examples:\n"
      "  crabctl policy set web weighted_round_robin\n"
      "  crabctl policy set web maglev table_size=131101\n"
      "No connection is lost. What the configuration file says is in force again after a restart.");
  set->callback([options] { policy_set(*options); });
}

void add_backend_commands(CLI::App* app, Options* options) {
  auto* backend = app->add_subcommand("backend", "backends of a service");
  backend->require_subcommand(1);

  auto* list = backend->add_subcommand("list", "lists a service's backends and their states");
  list->add_option("SERVICE", options->name)->required();
  list->footer("Example:\n  crabctl backend list web");
  list->callback([options] { backend_list(*options); });

  auto* put = backend->add_subcommand(
      "register", "adds backends or changes those whose id is known: all of them or none");
  put->add_option("SERVICE", options->name)->required();
  auto* words = put->add_option("BACKEND", options->backends)->check(kIsBackend);
  auto* id = put->add_option_function<std::string>(
      "--id", [options](const auto& text) { options->backend.set_id(text); },
      "of a single backend");
  auto* address = put->add_option_function<std::string>(
      "--address", [options](const auto& text) { options->backend.set_address(text); },
      "its address");
  auto* port = put->add_option_function<std::uint32_t>(
      "--port", [options](const auto& number) { options->backend.set_port(number); },
      "its TCP port");
  auto* weight = put->add_option("--weight", options->weight, "its weight, 1 to 65535");
  id->needs(address)->needs(port)->excludes(words);
  address->needs(id);
  port->needs(id);
  weight->needs(id);
  put->footer(
      "Examples:\n"
      "  crabctl backend register web b1=10.0.0.11:8080 b2=10.0.0.12:8080,weight=2\n"
      "  crabctl backend register web6 b1=[fd00::11]:8080\n"
      "  crabctl backend register web --id b1 --address 10.0.0.11 --port 8080");
  put->callback([options, words, id, weight] {
    if (words->count() == 0 && id->count() == 0) {
      throw CLI::RequiredError("BACKEND or --id, --address and --port");
    }
    backend_register(*options, weight->count() > 0);
  });

  add_drain_commands(backend, options);
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("crabctl: talks to a running crab-lb");
  app.require_subcommand(1);
  app.fallthrough();
  app.set_version_flag("--version", std::string("crabctl ") + kVersion);
  app.add_option("--server,--socket", options.server,
                 "crab-lb's control socket, unix:/PATH or tcp:HOST:PORT")
      ->envname("CRAB_SERVER")
      ->capture_default_str();
  add_tls_options(&app, &options.tls);
  app.add_option("--timeout", options.timeout_seconds, "seconds to wait for an answer")
      ->check(CLI::Range(1U, 3'600U))
      ->capture_default_str();
  app.add_option("-o,--output", options.format, "how to print what it got")
      ->check(CLI::IsMember({"table", "json", "yaml"}))
      ->capture_default_str();
  app.footer(
      "Exit codes: 0 done, 1 crab-lb refused it, 2 wrong usage, 3 crab-lb not reached.\n"
      "Examples:\n"
      "  crabctl service list\n"
      "  crabctl backend register web b4=10.0.0.14:8080\n"
      "  crabctl policy set web join_shortest_queue\n"
      "  crabctl stats -o json");
  add_service_commands(&app, &options);
  add_backend_commands(&app, &options);
  add_policy_commands(&app, &options);
  add_access_commands(&app, &options);
  auto* stats_command = app.add_subcommand("stats", "shows what the datapath has counted");
  stats_command->add_flag("--all", options.all, "verdicts and refusals that never happened too");
  stats_command->footer("Example:\n  crabctl stats --all");
  stats_command->callback([&options] { stats(options); });
  auto* version = app.add_subcommand("version", "shows crabctl's version");
  version->footer("Example:\n  crabctl version");
  version->callback([] { std::printf("crabctl %s\n", kVersion); });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : static_cast<int>(ExitCode::Usage);
  } catch (const CallError& e) {
    std::fprintf(stderr, "crabctl: %s\n", e.what());
    return static_cast<int>(e.code());
  }
  return static_cast<int>(ExitCode::Ok);
}

}  // namespace
}  // namespace crab

int main(int argc, char** argv) { return crab::run(argc, argv); }
