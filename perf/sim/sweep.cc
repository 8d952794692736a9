// SPDX-License-Identifier: Apache-2.0
#include "perf/sim/sweep.h"

#include <string_view>
#include <tuple>

#include "perf/sim/options.h"

namespace crab::sim {
namespace {

std::string_view name_of(ReportMode mode) {
  switch (mode) {
    case ReportMode::None:
      return "none";
    case ReportMode::Ideal:
      return "ideal";
    case ReportMode::Periodic:
      return "periodic";
    case ReportMode::Event:
      return "event";
  }
  return "?";
}

double to_ms(Time t) { return Milliseconds(t).count(); }

}  // namespace

void run_sweep(const Sweep& sweep, const Effort& effort, std::FILE* out) {
  std::vector<Scenario> scenarios;
  std::vector<std::string> policies;
  const auto intervals =
      sweep.intervals.empty() ? std::vector{sweep.base.reports.interval} : sweep.intervals;
  for (const auto service : sweep.services) {
    for (const auto& policy : sweep.policies) {
      for (const auto interval : intervals) {
        for (const double load : sweep.loads) {
          Scenario s = sweep.base;
          std::tie(s.policy, s.parameters) = parse_policy(policy);
          s.service = service;
          s.load = load;
          s.reports.interval = interval;
          scenarios.push_back(s);
          policies.push_back(policy);
        }
      }
    }
  }
  const auto averages = run_all(scenarios, effort);
  std::fputs(
      "service,mean_service_ms,servers,nodes,reports,interval_ms,policy,load,mean_ms,p50_ms,"
      "p99_ms,p999_ms,p99_spread\n",
      out);
  for (std::size_t i = 0; i < scenarios.size(); ++i) {
    const Scenario& s = scenarios[i];
    const Average& a = averages[i];
    std::fprintf(out, "%s,%g,%u,%u,%s,%g,\"%s\",%g,%.3f,%.3f,%.3f,%.3f,%.3f\n",
                 std::string(name_of(s.service)).c_str(), to_ms(s.mean_service), s.n_servers,
                 s.n_nodes, std::string(name_of(s.reports.mode)).c_str(), to_ms(s.reports.interval),
                 policies[i].c_str(), s.load, a.mean_ms, a.p50_ms, a.p99_ms, a.p999_ms,
                 a.p99_spread);
  }
}

}  // namespace crab::sim
