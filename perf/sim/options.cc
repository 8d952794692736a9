// SPDX-License-Identifier: Apache-2.0
#include "perf/sim/options.h"

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <map>
#include <sstream>
#include <stdexcept>

namespace crab::sim {
namespace {

Time from_ms(double ms) { return std::chrono::duration_cast<Time>(Milliseconds(ms)); }

void add_time(CLI::App& app, const std::string& name, Time& time, const std::string& description) {
  app.add_option_function<double>(
         name, [&time](const double& ms) { time = from_ms(ms); }, description)
      ->check(CLI::NonNegativeNumber)
      ->type_name("MS");
}

template <typename Value>
void add_choice(CLI::App& app, const std::string& name, Value& value,
                const std::map<std::string, Value>& choices, const std::string& description) {
  app.add_option(name, value, description)->transform(CLI::CheckedTransformer(choices));
}

ServiceKind read_service(const std::string& name) {
  const auto kind = parse_service_kind(name);
  if (!kind) throw CLI::ValidationError("service", "no such distribution: " + name);
  return *kind;
}

// "KIND:SERVER:MS"
Incident parse_incident(const std::string& text) {
  static const std::map<std::string, Incident::Kind> kKinds = {
      {"crash", Incident::Kind::Crash},        {"agent-restart", Incident::Kind::AgentRestart},
      {"fail-fast", Incident::Kind::FailFast}, {"join", Incident::Kind::Join},
      {"leave", Incident::Kind::Leave},
  };
  std::istringstream in(text);
  std::string kind;
  char colon = 0;
  Incident incident;
  double at_ms = 0;
  const bool is_read = std::getline(in, kind, ':') && in >> incident.server >> colon >> at_ms;
  const auto found = kKinds.find(kind);
  if (!is_read || colon != ':' || !in.eof() || found == kKinds.end() || at_ms < 0) {
    throw CLI::ValidationError("--incident", "not KIND:SERVER:MS: " + text);
  }
  incident.kind = found->second;
  incident.at = from_ms(at_ms);
  return incident;
}

void add_report_options(CLI::App& app, Reports& reports) {
  add_choice<ReportMode>(app, "--reports", reports.mode,
                         {{"none", ReportMode::None},
                          {"ideal", ReportMode::Ideal},
                          {"periodic", ReportMode::Periodic},
                          {"event", ReportMode::Event}},
                         "when the agents report (event)");
  add_time(app, "--interval", reports.interval, "between reports, or heartbeats of event (10)");
  add_time(app, "--coalescing", reports.coalescing, "between reports of events at least (0)");
  app.add_flag("--report-accepts", reports.accepts, "event: accepts are events, too");
  app.add_option("--report-loss", reports.loss, "share of reports lost")->check(CLI::Range(0., 1.));
  add_time(app, "--report-delay", reports.delay, "of a report (0.02)");
  app.add_option("--backends-per-agent", reports.backends_per_agent, "servers on one host (1)");
}

}  // namespace

std::pair<std::string, PolicyInstance::Parameters> parse_policy(const std::string& text) {
  std::istringstream in(text);
  std::pair<std::string, PolicyInstance::Parameters> policy;
  std::getline(in, policy.first, ':');
  for (std::string pair; std::getline(in, pair, ',');) {
    const auto equals = pair.find('=');
    if (equals == std::string::npos) throw std::invalid_argument("not KEY=VALUE: " + pair);
    policy.second.emplace_back(pair.substr(0, equals), pair.substr(equals + 1));
  }
  return policy;
}

void add_scenario_options(CLI::App& app, Scenario& s) {
  app.add_option("--servers", s.n_servers, "servers (48)");
  app.add_option_function<std::string>(
      "--service", [&s](const std::string& name) { s.service = read_service(name); },
      "service time: deterministic, exponential, bimodal, pareto, lognormal (exponential)");
  add_time(app, "--mean-service", s.mean_service, "mean service time (1)");
  app.add_option("--speeds", s.speeds, "of the servers in turn, and their weights (1)")
      ->delimiter(',');
  app.add_option("--load", s.load, "of the servers' capacity (0.8)");
  app.add_option("--warm-up", s.warm_up_share, "share of requests left out at the start (0.1)")
      ->check(CLI::Range(0., 1.));
  app.add_option("--nodes", s.n_nodes, "appliances (1)");
  app.add_option_function<std::string>(
      "--policy",
      [&s](const std::string& text) { std::tie(s.policy, s.parameters) = parse_policy(text); },
      "NAME[:KEY=VALUE,...] (round_robin)");
  add_time(app, "--min-silence", s.table.min_silence, "before a backend counts as silent (0)");
  add_time(app, "--ramp", s.ramp, "slow start of new backends (0)");
  add_time(app, "--network-delay", s.network_delay, "from a node to a server (0.02)");
  app.add_option("--syn-loss", s.syn_loss, "share of SYNs lost behind the node")
      ->check(CLI::Range(0., 1.));
  add_time(app, "--hold", s.hold, "a connection stays open after its request (0)");
  app.add_option_function<std::vector<std::string>>(
      "--incident",
      [&s](const std::vector<std::string>& texts) {
        for (const auto& text : texts) s.incidents.push_back(parse_incident(text));
      },
      "KIND:SERVER:MS: crash, agent-restart, fail-fast, join, leave");
  add_report_options(app, s.reports);
}

void add_sweep_options(CLI::App& app, Sweep& sweep) {
  add_scenario_options(app, sweep.base);
  app.add_option("--policies", sweep.policies, "as --policy");
  app.add_option_function<std::vector<std::string>>(
      "--services",
      [&sweep](const std::vector<std::string>& names) {
        sweep.services.clear();
        for (const auto& name : names) sweep.services.push_back(read_service(name));
      },
      "as --service");
  app.add_option("--loads", sweep.loads, "as --load");
  app.add_option_function<std::vector<double>>(
      "--intervals",
      [&sweep](const std::vector<double>& ms) {
        for (const double interval : ms) sweep.intervals.push_back(from_ms(interval));
      },
      "as --interval, ms");
}

void add_effort_options(CLI::App& app, Effort& effort) {
  app.add_option("--seeds", effort.n_seeds, "runs of each scenario (3)")
      ->check(CLI::PositiveNumber);
  app.add_option("--requests", effort.max_requests, "of a run at most")->check(CLI::PositiveNumber);
  app.add_flag("--same-requests", effort.same_requests,
               "arrivals and service times are those of seed 1 in all runs");
  app.add_option("--threads", effort.n_threads, "that run scenarios (1)")
      ->check(CLI::PositiveNumber);
}

}  // namespace crab::sim
