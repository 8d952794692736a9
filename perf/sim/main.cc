// SPDX-License-Identifier: Apache-2.0
// crab-sim: what the policies would do to latency. perf/README.md says how to read it.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "perf/sim/options.h"
#include "perf/sim/scenario.h"
#include "perf/sim/studies.h"
#include "perf/sim/thresholds.h"

namespace crab::sim {
namespace {

void print(const Result& r) {
  std::printf("measured      %llu of %llu events\n", static_cast<unsigned long long>(r.n_measured),
              static_cast<unsigned long long>(r.n_events));
  std::printf("mean ms       %.3f\np50 ms        %.3f\np99 ms        %.3f\np99.9 ms      %.3f\n",
              r.mean.count(), r.p50.count(), r.p99.count(), r.p999.count());
  std::printf("rule          %s\n", r.rule.c_str());
  std::printf("sets built    %llu\n", static_cast<unsigned long long>(r.n_rebuilds));
  std::printf("SYNs lost     %llu, written off %llu, late %llu, unconfirmed %llu\n",
              static_cast<unsigned long long>(r.n_syns_lost),
              static_cast<unsigned long long>(r.n_written_off),
              static_cast<unsigned long long>(r.n_late),
              static_cast<unsigned long long>(r.n_unconfirmed));
  std::printf("incident      share %.3f, lost to a crash %llu, ended by it %llu\n", r.share,
              static_cast<unsigned long long>(r.n_lost_to_crash),
              static_cast<unsigned long long>(r.n_ended_by_crash));
}

int run(int argc, char** argv) {
  CLI::App app("simulates balancing with crab-lb's own policies and load table");
  app.require_subcommand(1);
  Scenario scenario;
  CLI::App* one = app.add_subcommand("run", "one scenario");
  add_scenario_options(*one, scenario);
  one->add_option("--requests", scenario.n_requests, "requests (700000)");
  one->add_option("--seed", scenario.seed, "of arrivals and service times (1)");
  one->add_option("--other-seed", scenario.other_seed, "of all other random numbers (1)");
  Effort effort;
  CLI::App* thresholds =
      app.add_subcommand("thresholds", "what the policies have to reach; exit 1 if they do not");
  add_effort_options(*thresholds, effort);
  CLI::App* studies = app.add_subcommand("studies", "what goes wrong in practice, as tables");
  add_effort_options(*studies, effort);
  Sweep sweep;
  CLI::App* sweeping = app.add_subcommand("sweep", "many scenarios, as CSV");
  add_sweep_options(*sweeping, sweep);
  add_effort_options(*sweeping, effort);
  CLI11_PARSE(app, argc, argv);
  if (thresholds->parsed()) return check_thresholds(effort) ? 0 : 1;
  if (studies->parsed()) {
    print_studies(effort);
  } else if (sweeping->parsed()) {
    run_sweep(sweep, effort, stdout);
  } else {
    print(simulate(scenario));
  }
  return 0;
}

}  // namespace
}  // namespace crab::sim

int main(int argc, char** argv) {
  try {
    return crab::sim::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "crab-sim: %s\n", e.what());
    return 2;
  }
}
