// SPDX-License-Identifier: Apache-2.0
#include "perf/sim/studies.h"

#include <cstdio>
#include <string>
#include <tuple>
#include <vector>

#include "perf/sim/options.h"

namespace crab::sim {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

struct Case {
  std::string name;
  Scenario scenario;
};

struct Study {
  const char* title;
  std::vector<Case> cases;
  bool with_share = false;
};

// Exponential service, load .8, 48 servers, reports on close with a heartbeat of 10 ms.
Scenario usual(const std::string& policy) {
  Scenario s;
  std::tie(s.policy, s.parameters) = parse_policy(policy);
  return s;
}

Study unequal_servers() {
  Study study{"24 servers of speed 1 and 24 of speed 2, weights to match", {}};
  for (const char* policy : {"round_robin", "random", "weighted_round_robin", "maglev",
                             "power_of_two", "join_shortest_queue"}) {
    Scenario s = usual(policy);
    s.speeds = {1, 2};
    study.cases.push_back({policy, s});
  }
  return study;
}

Study fast_failer() {
  Study study{"one server fails a hundred times as fast as others serve: its share", {}, true};
  for (const char* policy : {"round_robin", "power_of_two:max_share=0", "power_of_two",
                             "join_shortest_queue:max_share=0", "join_shortest_queue"}) {
    Scenario s = usual(policy);
    s.incidents = {{Incident::Kind::FailFast, seconds(2), 7}};
    study.cases.push_back({policy, s});
  }
  return study;
}

// A connection costs a request's work at its start and stays open for 20 s. Measured for 10 s from
// the moment the newcomer joins. The load is that of the starts alone.
Study newcomer() {
  Study study{"a newcomer where connections last 20 s; for 10 s from its joining", {}, true};
  const auto add = [&](const char* name, double load, const char* policy, Time ramp = {}) {
    Scenario s = usual(policy);
    s.load = load;
    s.hold = seconds(20);
    s.n_requests = static_cast<std::uint64_t>(35'000 * 47 * load);
    s.incidents = {{Incident::Kind::Join, seconds(25), 47}};
    s.ramp = ramp;
    study.cases.push_back({name, s});
  };
  add("load .4, round robin", 0.4, "round_robin");
  add("load .4, JSQ, no cap", 0.4, "join_shortest_queue:max_share=0");
  add("load .4, JSQ, no cap, ramp of 10 s", 0.4, "join_shortest_queue:max_share=0", seconds(10));
  add("load .4, JSQ", 0.4, "join_shortest_queue");
  add("load .8, JSQ", 0.8, "join_shortest_queue");
  add("load .8, JSQ, cap 1.2", 0.8, "join_shortest_queue:max_share=1.2");
  return study;
}

Study losses() {
  Study study{"losses (JSQ)", {}};
  const auto add = [&](const char* name, double syn_loss, double report_loss) {
    Scenario s = usual("join_shortest_queue");
    s.syn_loss = syn_loss;
    s.reports.loss = report_loss;
    study.cases.push_back({name, s});
  };
  add("none", 0, 0);
  add("1% of reports", 0, 0.01);
  add("10% of reports", 0, 0.1);
  add("50% of reports", 0, 0.5);
  add("1% of SYNs", 0.01, 0);
  add("5% of SYNs", 0.05, 0);
  add("5% of SYNs, 10% of reports", 0.05, 0.1);
  return study;
}

Study coalescing() {
  Study study{"coalescing of reports (JSQ)", {}};
  const auto add = [&](const char* name, Time least, unsigned backends_per_agent) {
    Scenario s = usual("join_shortest_queue");
    s.reports.coalescing = least;
    s.reports.backends_per_agent = backends_per_agent;
    study.cases.push_back({name, s});
  };
  add("none", {}, 1);
  add("0.1 ms", microseconds(100), 1);
  add("1 ms (the default)", milliseconds(1), 1);
  add("1 ms, 16 backends on a host", milliseconds(1), 16);
  return study;
}

Study churn() {
  Study study{"churn: 12 times, 1 s apart, a server joins and another leaves", {}};
  for (const char* policy : {"round_robin", "power_of_two", "join_shortest_queue"}) {
    Scenario s = usual(policy);
    s.n_servers = 60;
    for (std::uint32_t i = 0; i < 12; ++i) {
      s.incidents.push_back({Incident::Kind::Join, seconds(2 + i), 48 + i});
      s.incidents.push_back({Incident::Kind::Leave, seconds(2 + i), 4 * i});
    }
    study.cases.push_back({policy, s});
  }
  return study;
}

Study several_nodes() {
  Study study{"several nodes", {}};
  for (const unsigned n_nodes : {1U, 4U, 16U}) {
    Scenario blind = usual("round_robin");
    blind.n_nodes = n_nodes;
    study.cases.push_back({std::to_string(n_nodes) + ", round_robin", blind});
    for (const char* policy : {"power_of_two:d=4", "join_shortest_queue"}) {
      const auto add = [&](const char* reports, ReportMode mode, Time interval, bool accepts) {
        Scenario s = usual(policy);
        s.n_nodes = n_nodes;
        s.reports.mode = mode;
        s.reports.interval = interval;
        s.reports.accepts = accepts;
        study.cases.push_back({std::to_string(n_nodes) + ", " + policy + reports, s});
      };
      add(", T=1", ReportMode::Periodic, milliseconds(1), false);
      add(", T=10", ReportMode::Periodic, milliseconds(10), false);
      add(", closes", ReportMode::Event, milliseconds(10), false);
      add(", closes and accepts", ReportMode::Event, milliseconds(10), true);
    }
  }
  return study;
}

Study large_sets() {
  Study study{"1,000 and 10,000 servers", {}};
  for (const unsigned n_servers : {48U, 1'000U, 10'000U}) {
    for (const char* policy : {"random", "round_robin", "power_of_two", "join_shortest_queue"}) {
      Scenario s = usual(policy);
      s.n_servers = n_servers;
      s.n_requests = n_servers == 48 ? 700'000 : 500ULL * n_servers;
      s.warm_up_share = 0.3;
      study.cases.push_back({std::to_string(n_servers) + ", " + policy, s});
    }
  }
  return study;
}

void print(const Study& study, const Effort& effort) {
  std::vector<Scenario> scenarios;
  for (const auto& c : study.cases) scenarios.push_back(c.scenario);
  const auto averages = run_all(scenarios, effort);
  std::printf("\n%-58s %8s %8s %9s%s\n", study.title, "p50 ms", "p99 ms", "p99.9 ms",
              study.with_share ? "   share" : "");
  for (std::size_t i = 0; i < averages.size(); ++i) {
    const Average& a = averages[i];
    std::printf("  %-56s %8.2f %8.2f %9.2f", study.cases[i].name.c_str(), a.p50_ms, a.p99_ms,
                a.p999_ms);
    if (study.with_share) std::printf(" %7.2f", a.share);
    std::printf("\n");
    std::fflush(stdout);
  }
}

}  // namespace

void print_studies(const Effort& effort) {
  std::printf(
      "exponential service of 1 ms, load .8, 48 servers, reports on close and each 10 ms\n");
  for (const Study& study : {unequal_servers(), fast_failer(), newcomer(), losses(), coalescing(),
                             churn(), several_nodes(), large_sets()}) {
    print(study, effort);
  }
}

}  // namespace crab::sim
