// SPDX-License-Identifier: Apache-2.0
#include "perf/sim/thresholds.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <string>
#include <utility>

namespace crab::sim {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

Scenario exponential(const char* policy) {
  Scenario s;
  s.policy = policy;
  return s;
}

Scenario deterministic(const char* policy, double load) {
  Scenario s = exponential(policy);
  s.service = ServiceKind::Deterministic;
  s.load = load;
  return s;
}

Scenario with_reports(Scenario s, ReportMode mode, Time interval = milliseconds(10)) {
  s.reports.mode = mode;
  s.reports.interval = interval;
  return s;
}

// Four servers, a fair distance apart in time.
Scenario with_incidents(Scenario s, Incident::Kind kind) {
  for (std::uint32_t i = 0; i < 4; ++i) s.incidents.push_back({kind, seconds(2 + i), 7 * i});
  return s;
}

constexpr const char* kJsq = "join_shortest_queue";

using Cases = std::map<std::string, Scenario>;

Cases make_cases() {
  Cases cases;
  cases["M/M/1"] = exponential("random");
  cases["M/D/1"] = deterministic("random", 0.75);
  cases["D rr"] = deterministic("round_robin", 0.8125);
  cases["D jsq T=1"] =
      with_reports(deterministic(kJsq, 0.8125), ReportMode::Periodic, milliseconds(1));
  cases["D jsq T=10"] =
      with_reports(deterministic(kJsq, 0.8125), ReportMode::Periodic, milliseconds(10));
  cases["rr"] = exponential("round_robin");
  cases["ideal"] = with_reports(exponential(kJsq), ReportMode::Ideal);
  cases["event"] = exponential(kJsq);
  cases["event, loss"] = cases["event"];
  cases["event, loss"].reports.loss = 0.1;
  cases["T=.1"] = with_reports(exponential(kJsq), ReportMode::Periodic, microseconds(100));
  cases["T=1"] = with_reports(exponential(kJsq), ReportMode::Periodic, milliseconds(1));
  cases["T=10"] = with_reports(exponential(kJsq), ReportMode::Periodic, milliseconds(10));
  cases["T=100"] = with_reports(exponential(kJsq), ReportMode::Periodic, milliseconds(100));
  cases["4 nodes, T=1"] =
      with_reports(exponential("power_of_two"), ReportMode::Periodic, milliseconds(1));
  cases["4 nodes, T=1"].parameters = {{"d", "4"}};
  cases["4 nodes, T=1"].n_nodes = 4;
  cases["4 nodes, accepts"] = exponential(kJsq);
  cases["4 nodes, accepts"].n_nodes = 4;
  cases["4 nodes, accepts"].reports.accepts = true;
  cases["bimodal"] = exponential(kJsq);
  cases["bimodal"].service = ServiceKind::Bimodal;
  cases["crash"] = with_incidents(cases["T=1"], Incident::Kind::Crash);
  cases["agent restart"] = with_incidents(cases["event"], Incident::Kind::AgentRestart);
  return cases;
}

class Report {
 public:
  Report() {
    std::printf("%-54s %-22s %8s %7s\n", "case (48 servers, mean service 1 ms; p99 in ms)",
                "required", "measured", "");
  }
  void at_most(const char* name, double measured, double limit, const char* rule = "") {
    char required[64];
    std::snprintf(required, sizeof required, "<= %.2f%s", limit, rule);
    line(name, required, measured, measured <= limit);
  }
  void between(const char* name, double measured, double least, double greatest) {
    char required[64];
    std::snprintf(required, sizeof required, "%.2f to %.2f", least, greatest);
    line(name, required, measured, measured >= least && measured <= greatest);
  }
  void at_least(const char* name, double measured, double limit) {
    char required[64];
    std::snprintf(required, sizeof required, ">= %.2f", limit);
    line(name, required, measured, measured >= limit);
  }
  bool is_passed() const { return is_passed_; }

 private:
  void line(const char* name, const char* required, double measured, bool is_reached) {
    std::printf("%-54s %-22s %8.3f %7s\n", name, required, measured, is_reached ? "pass" : "FAIL");
    is_passed_ = is_passed_ && is_reached;
  }
  bool is_passed_ = true;
};

// Sojourn times of M/M/1 and M/D/1 (Kleinrock, "Queueing Systems", volume 1, 1975: 3.2 and 5.6),
// which is what random dispatch makes of Poisson arrivals, and the network's delay.
void check_theory(Report& report, const std::map<std::string, Average>& found) {
  constexpr double kDelayMs = 0.02;
  const double mm1 = std::log(100) / (1 - 0.8) + kDelayMs;
  const double md1 = 1 + 0.75 / (2 * (1 - 0.75)) + kDelayMs;
  report.between("exponential .8, random: M/M/1 within 4%", found.at("M/M/1").p99_ms, 0.96 * mm1,
                 1.04 * mm1);
  report.between("deterministic .75, random: M/D/1's mean within 2%", found.at("M/D/1").mean_ms,
                 0.98 * md1, 1.02 * md1);
}

void check_one_node(Report& report, const std::map<std::string, Average>& found) {
  const auto p99 = [&](const char* name) { return found.at(name).p99_ms; };
  report.at_most("deterministic .8125, round robin", p99("D rr"), 1.20);
  report.between("deterministic .75, random", p99("M/D/1"), 8.5, 9.6);
  report.at_most("deterministic .8125, JSQ, T=1", p99("D jsq T=1"), 1.25);
  report.at_most("deterministic .8125, JSQ, T=10", p99("D jsq T=10"), 1.30);
  const double ideal = p99("ideal");
  report.between("exponential .8, ideal JSQ", ideal, 4.79 * 0.98, 4.79 * 1.02);
  report.at_most("exponential .8, JSQ, on close + 10 ms heartbeat", p99("event"), ideal * 1.03,
                 " (ideal + 3%)");
  report.at_most("  the same, 10% of reports lost", p99("event, loss"), ideal * 1.13,
                 " (ideal + 13%)");
  report.at_most("exponential .8, JSQ, T=.1", p99("T=.1"), ideal * 1.07, " (ideal + 7%)");
  report.at_most("exponential .8, JSQ, T=1", p99("T=1"), ideal * 1.30, " (ideal + 30%)");
  report.at_most("exponential .8, JSQ, T=10", p99("T=10"), 0.72 * p99("rr"), " (.72 RR)");
  report.at_most("exponential .8, JSQ, T=100", p99("T=100"), p99("rr"), " (RR)");
  report.at_most("bimodal .8, JSQ, on close + 10 ms heartbeat", p99("bimodal"), 5.6);
}

void check_misfortune(Report& report, const std::map<std::string, Average>& found) {
  const double ideal = found.at("ideal").p99_ms;
  report.at_most("exponential .8, 4 nodes, T=1, power of four", found.at("4 nodes, T=1").p99_ms,
                 7.5);
  report.at_most("exponential .8, 4 nodes, JSQ, closes and accepts",
                 found.at("4 nodes, accepts").p99_ms, ideal * 1.13, " (ideal + 13%)");
  report.at_most("connections lost per silent crash, T=1", found.at("crash").n_lost_to_crash / 4,
                 4);
  report.at_least("share after agent restart", found.at("agent restart").share, 0.95);
}

}  // namespace

bool check_thresholds(const Effort& effort) {
  const Cases cases = make_cases();
  std::vector<Scenario> scenarios;
  for (const auto& [name, scenario] : cases) scenarios.push_back(scenario);
  const auto averages = run_all(scenarios, effort);
  std::map<std::string, Average> found;
  for (std::size_t i = 0; const auto& [name, scenario] : cases) found[name] = averages[i++];
  Report report;
  check_theory(report, found);
  check_one_node(report, found);
  check_misfortune(report, found);
  std::printf(
      "means of %u seeds, %llu requests each\n", effort.n_seeds,
      static_cast<unsigned long long>(std::min(effort.max_requests, scenarios.front().n_requests)));
  return report.is_passed();
}

}  // namespace crab::sim
