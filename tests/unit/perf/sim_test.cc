// SPDX-License-Identifier: Apache-2.0
// The simulator itself; what the policies reach in it is the suite `sim`.
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "perf/sim/random_stream.h"
#include "perf/sim/scenario.h"
#include "perf/sim/service_time.h"

namespace crab::sim {
namespace {

using std::chrono::milliseconds;

Scenario small(const char* policy) {
  Scenario s;
  s.policy = policy;
  s.n_requests = 20'000;
  s.warm_up_share = 0;
  return s;
}

TEST(Simulation, IsDeterministic) {
  Scenario s = small("join_shortest_queue");
  s.reports.loss = 0.1;
  const Result first = simulate(s);
  const Result again = simulate(s);
  EXPECT_EQ(first.p99, again.p99);
  EXPECT_EQ(first.n_events, again.n_events);
  s.seed = 2;
  EXPECT_NE(simulate(s).p99, first.p99);
}

TEST(Simulation, AccountsForEveryRequest) {
  Scenario s = small("random");
  s.syn_loss = 0.05;
  s.incidents = {{Incident::Kind::Crash, milliseconds(0), 3}};
  s.reports.mode = ReportMode::Periodic;
  const Result r = simulate(s);
  EXPECT_GT(r.n_syns_lost, 0U);
  EXPECT_GT(r.n_lost_to_crash, 0U);
  EXPECT_EQ(r.n_measured + r.n_syns_lost + r.n_lost_to_crash + r.n_ended_by_crash, s.n_requests);
}

// Pollaczek and Khinchine: M/D/1 waits load / (2 (1 - load)) on average.
TEST(Simulation, OneServerIsAnMD1Queue) {
  Scenario s = small("round_robin");
  s.n_servers = 1;
  s.n_requests = 200'000;
  s.service = ServiceKind::Deterministic;
  s.load = 0.5;
  s.network_delay = {};
  EXPECT_NEAR(simulate(s).mean.count(), 1.5, 0.02);
}

TEST(Simulation, AFasterServerServesFaster) {
  Scenario s = small("random");
  s.speeds = {4};
  s.load = 0.01;
  s.service = ServiceKind::Deterministic;
  EXPECT_NEAR(simulate(s).p50.count(), 0.27, 0.001);  // and the network's delay
}

TEST(Simulation, TheSilentLeaveAndTheLostAreWrittenOff) {
  Scenario s = small("round_robin");
  s.n_requests = 100'000;
  s.incidents = {{Incident::Kind::Crash, milliseconds(1000), 7}};
  Result r = simulate(s);
  EXPECT_EQ(r.n_rebuilds, 2U);
  EXPECT_LT(r.share, 0.1);
  s = small("round_robin");
  s.n_requests = 100'000;
  s.syn_loss = 0.1;
  r = simulate(s);
  EXPECT_GT(r.n_written_off, r.n_syns_lost * 9 / 10);
}

TEST(Simulation, ConnectionsThatAreHeldStayOpen) {
  Scenario s = small("join_shortest_queue");
  s.hold = milliseconds(100);
  s.load = 0.3;
  s.n_requests = 8'000;  // of which 7,050 before it comes
  s.incidents = {{Incident::Kind::Join, milliseconds(500), 47},
                 {Incident::Kind::Leave, milliseconds(530), 0}};
  const Result r = simulate(s);
  EXPECT_EQ(r.n_rebuilds, 3U);
  EXPECT_GT(r.share, 1.3);  // it had no connections when it came
}

TEST(Simulation, RefusesWhatMakesNoSense) {
  EXPECT_THROW(simulate(small("no_such_policy")), PolicyError);
  Scenario s = small("random");
  s.load = 0;
  EXPECT_THROW(simulate(s), std::invalid_argument);
  s = small("random");
  s.incidents = {{Incident::Kind::Crash, {}, 48}};
  EXPECT_THROW(simulate(s), std::invalid_argument);
}

TEST(ServiceTime, HasTheMeanOne) {
  for (const auto kind : {ServiceKind::Deterministic, ServiceKind::Exponential,
                          ServiceKind::Bimodal, ServiceKind::Pareto, ServiceKind::Lognormal}) {
    EXPECT_EQ(parse_service_kind(name_of(kind)), kind);
    RandomStream random(1, 1);
    double sum = 0;
    constexpr int kDraws = 1'000'000;
    for (int i = 0; i < kDraws; ++i) sum += draw_service(kind, random);
    EXPECT_NEAR(sum / kDraws, 1, 0.02) << name_of(kind);
  }
  EXPECT_EQ(parse_service_kind("constant"), std::nullopt);
}

}  // namespace
}  // namespace crab::sim
