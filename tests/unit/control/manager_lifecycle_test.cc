// SPDX-License-Identifier: Apache-2.0
// Drains, maintenance, health verdicts, and what becomes of a backend that comes back.
#include "tests/unit/control/manager_fixture.h"

namespace crab {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class LifecycleTest : public ManagerTest {
 protected:
  // web with b1 to bn, all eligible.
  void start_with(int n) {
    start();
    auto web = service("web");
    for (int i = 1; i <= n; ++i) add(&web, "b" + std::to_string(i), i);
    ASSERT_EQ(create(web), "");
    settle();
  }
  void report(const std::string& id, std::uint32_t open, std::uint64_t accepted = 0) {
    LoadSample sample;
    sample.open = open;
    sample.counts = LoadSample::Counts{accepted, accepted, 0};
    sample.event = true;
    sample.interval = 10ms;
    manager_->load_table().report(slot(id), sample, manager_->now());
    manager_->reported(std::array{slot(id)});
  }
  void tick(std::chrono::milliseconds later = 50ms) {
    now_ += later;
    manager_->tick();
    settle();
  }
  std::string drain(const std::vector<std::string>& ids, const DrainOptions& options = {}) {
    return run(submit([ids, options](auto& state, auto* effect) {
      return state.drain_backends("web", ids, options, effect);
    }));
  }
  std::string maintain(const std::vector<std::string>& ids, bool maintenance) {
    return run(submit([ids, maintenance](auto& state, auto* effect) {
      return state.set_maintenance("web", ids, maintenance, {}, effect);
    }));
  }
  bool has(const std::string& id) const {
    return manager_->view()->find("web")->backends.contains(id);
  }
  Administration administration(const std::string& id) const {
    return manager_->view()->find("web")->backends.at(id).administration;
  }
  static DrainOptions within(std::chrono::milliseconds timeout) {
    DrainOptions options;
    options.timeout = timeout;
    return options;
  }
};

INSTANTIATE_TEST_SUITE_P(Both, LifecycleTest, ::testing::ValuesIn(kManagerNets),
                         [](const auto& test) { return test.param.name; });

TEST_P(LifecycleTest, ADrainEndsWithTheLastConnection) {
  start_with(2);
  report("b1", 2, 2);
  const auto drained_slot = slot("b1");
  ASSERT_EQ(deregister({"b1"}), "");
  EXPECT_THAT(eligible(), ElementsAre("b2"));
  EXPECT_EQ(health_of("b1"), Health::Draining);
  EXPECT_EQ(slot("b1"), drained_slot);
  EXPECT_THAT(dataplane_.resolving, ElementsAre(address(host(1)), address(host(2))));
  tick();
  EXPECT_EQ(health_of("b1"), Health::Draining);
  report("b1", 1, 2);
  tick();
  EXPECT_EQ(health_of("b1"), Health::Draining);
  report("b1", 0, 2);
  tick();
  std::string reason;
  EXPECT_EQ(health_of("b1", &reason), Health::Drained);
  EXPECT_THAT(reason, HasSubstr("safe to terminate"));
  EXPECT_EQ(administration("b1").drained_by, DrainedBy::ZeroConnections);
  EXPECT_EQ(manager_->counters().n_drained_by_zero, 1u);
  // For watchers and pollers to see, and then gone.
  tick(kDrainedRetention - 1s);
  EXPECT_TRUE(has("b1"));
  tick(1s);
  EXPECT_FALSE(has("b1"));
  EXPECT_THAT(dataplane_.resolving, ElementsAre(address(host(2))));
}

TEST_P(LifecycleTest, ZeroFromBeforeTheDrainDoesNotEndIt) {
  start_with(2);
  report("b1", 0);
  ASSERT_EQ(deregister({"b1"}), "");
  tick();
  EXPECT_EQ(health_of("b1"), Health::Draining);
  report("b1", 0);
  tick();
  EXPECT_EQ(health_of("b1"), Health::Drained);
}

TEST_P(LifecycleTest, WhatIsOnItsWayKeepsADrainOpen) {
  start_with(2);
  report("b1", 0);
  dataplane_.counters_of(1).count_assignment_to(slot("b1"));
  ASSERT_EQ(deregister({"b1"}), "");
  tick(1ms);
  report("b1", 0);  // the connection is not accepted yet
  tick(1ms);
  EXPECT_EQ(health_of("b1"), Health::Draining);
  report("b1", 1, 1);
  tick(1ms);
  EXPECT_EQ(health_of("b1"), Health::Draining);
  report("b1", 0, 1);
  tick(1ms);
  EXPECT_EQ(health_of("b1"), Health::Drained);
}

TEST_P(LifecycleTest, AWorkerThatStillUsesTheOldSnapshotKeepsADrainOpen) {
  start_with(2);
  report("b1", 0);
  dataplane_.stuck_workers = {1};
  EXPECT_EQ(deregister({"b1"}), "WORKER_STUCK");
  tick();
  report("b1", 0);
  tick();
  EXPECT_EQ(health_of("b1"), Health::Draining);
  dataplane_.stuck_workers.clear();
  EXPECT_EQ(deregister({"b1"}), "");
  tick();
  EXPECT_EQ(health_of("b1"), Health::Draining) << "no report since";
  report("b1", 0);
  tick();
  EXPECT_EQ(health_of("b1"), Health::Drained);
}

TEST_P(LifecycleTest, WithoutReportsTheDeadlineEndsADrain) {
  start_with(2);
  ASSERT_EQ(deregister({"b1"}, within(10s)), "");
  tick(9'999ms);
  EXPECT_EQ(health_of("b1"), Health::Draining);
  tick(1ms);
  std::string reason;
  EXPECT_EQ(health_of("b1", &reason), Health::Drained);
  EXPECT_EQ(administration("b1").drained_by, DrainedBy::Deadline);
  EXPECT_THAT(reason, HasSubstr("not known"));
  EXPECT_EQ(manager_->counters().n_drained_by_deadline, 1u);
}

TEST_P(LifecycleTest, TheDeadlineEndsADrainWithOpenConnections) {
  start_with(2);
  report("b1", 7, 7);
  ASSERT_EQ(deregister({"b1"}), "");
  now_ += kDefaultDrainTimeout - 50ms;
  report("b1", 7, 7);
  tick(49ms);
  EXPECT_EQ(health_of("b1"), Health::Draining);
  tick(1ms);
  std::string reason;
  EXPECT_EQ(health_of("b1", &reason), Health::Drained);
  EXPECT_THAT(reason, HasSubstr("7 connections open"));
}

TEST_P(LifecycleTest, AStepOfTheWallClockEndsNoDrain) {
  start_with(2);
  ASSERT_EQ(deregister({"b1"}, within(10s)), "");
  wall_offset_ += 24h;
  tick();
  EXPECT_EQ(health_of("b1"), Health::Draining);
  wall_offset_ -= 48h;
  tick(10s);
  EXPECT_EQ(health_of("b1"), Health::Drained);
}

TEST_P(LifecycleTest, WhoIsTakenOutMayFallSilent) {
  start_with(3);
  for (const char* id : {"b1", "b2", "b3"}) report(id, 0);
  ASSERT_EQ(deregister({"b1", "b2"}), "");
  tick(150ms);
  report("b3", 0);
  tick(150ms);
  report("b3", 0);
  tick();
  EXPECT_TRUE(manager_->view()->silent.load_slots.contains(slot("b1")));
  EXPECT_FALSE(manager_->view()->silent.suspected_services.contains("web"));
  EXPECT_EQ(health_of("b1"), Health::Draining) << "silence is no zero";
}

TEST_P(LifecycleTest, AtOnceMeansAtOnce) {
  start_with(4);
  ASSERT_EQ(deregister({"b1"}, within(0s)), "");
  EXPECT_FALSE(has("b1"));
  ASSERT_EQ(deregister({"b2"}), "");
  DrainOptions force;
  force.force = true;
  ASSERT_EQ(deregister({"b2", "b3"}, force), "");
  EXPECT_FALSE(has("b2"));
  EXPECT_FALSE(has("b3"));
  EXPECT_THAT(eligible(), ElementsAre("b4"));
}

TEST_P(LifecycleTest, RegisteringAgainRevives) {
  start_with(3);
  const auto before = slot("b1");
  ASSERT_EQ(deregister({"b1", "b2"}, within(1s)), "");
  EXPECT_THAT(eligible(), ElementsAre("b3"));
  EXPECT_EQ(put("b1", 1), "");
  EXPECT_THAT(eligible(), ElementsAre("b1", "b3"));
  EXPECT_EQ(slot("b1"), before);
  tick(1s);
  EXPECT_EQ(health_of("b2"), Health::Drained);
  EXPECT_EQ(put("b2", 2), "");
  EXPECT_THAT(eligible(), ElementsAre("b1", "b2", "b3"));
  tick(2 * kDrainedRetention);
  EXPECT_THAT(eligible(), ElementsAre("b1", "b2", "b3"));
}

TEST_P(LifecycleTest, ARepeatedDeregisterOnlyShortensADrain) {
  start_with(2);
  ASSERT_EQ(deregister({"b1"}, within(10s)), "");
  const auto revision = manager_->view()->revision;
  tick(5s);
  EXPECT_EQ(deregister({"b1"}), "");
  EXPECT_EQ(deregister({"b1"}, within(1h)), "");
  EXPECT_EQ(manager_->view()->revision, revision);
  EXPECT_EQ(deregister({"b1"}, within(1s)), "");
  tick(1s);
  EXPECT_EQ(health_of("b1"), Health::Drained);
}

TEST_P(LifecycleTest, DrainedWithoutDeregisteringStays) {
  start_with(2);
  EXPECT_EQ(drain({"b1", "b9"}), "BACKEND_NOT_FOUND");
  EXPECT_THAT(eligible(), ElementsAre("b1", "b2"));
  ASSERT_EQ(drain({"b1"}, within(1s)), "");
  tick(1s);
  EXPECT_EQ(health_of("b1"), Health::Drained);
  tick(24h);
  EXPECT_EQ(health_of("b1"), Health::Drained);
  ASSERT_EQ(deregister({"b1"}), "");
  EXPECT_TRUE(has("b1"));
  tick(kDrainedRetention);
  EXPECT_FALSE(has("b1"));
}

TEST_P(LifecycleTest, MaintenanceOutlastsRegistering) {
  start_with(2);
  ASSERT_EQ(maintain({"b1"}, true), "");
  EXPECT_THAT(eligible(), ElementsAre("b2"));
  EXPECT_EQ(put("b1", 1), "");
  v1::Service heavier;
  add(&heavier, "b1", 1);
  heavier.mutable_backends(0)->set_weight(5);
  EXPECT_EQ(run(submit_register("web", heavier)), "");
  EXPECT_EQ(health_of("b1"), Health::Maintenance);
  EXPECT_THAT(eligible(), ElementsAre("b2"));
  ASSERT_EQ(maintain({"b1"}, false), "");
  EXPECT_THAT(eligible(), ElementsAre("b1", "b2"));
  // Undoing what is none leaves a drain alone.
  ASSERT_EQ(deregister({"b2"}), "");
  ASSERT_EQ(maintain({"b2"}, false), "");
  EXPECT_EQ(health_of("b2"), Health::Draining);
}

TEST_P(LifecycleTest, AChangedAddressIsANewBackendAndTheOldOneDrains) {
  start_with(2);
  report("b1", 1, 1);
  const auto old_slot = slot("b1");
  ASSERT_EQ(put("b1", 3), "");
  settle();
  EXPECT_THAT(eligible(), ElementsAre("b1", "b2"));
  EXPECT_NE(slot("b1"), old_slot);
  EXPECT_EQ(slot("b1~1"), old_slot);
  EXPECT_EQ(health_of("b1~1"), Health::Draining);
  // Back again: what drains there is the same backend, and yields.
  ASSERT_EQ(put("b1", 1), "");
  settle();
  EXPECT_EQ(slot("b1"), old_slot);
  EXPECT_EQ(health_of("b1"), Health::Healthy);
  EXPECT_EQ(manager_->view()->find("web")->backends.at("b1~1").definition.address,
            address(host(3)));
  EXPECT_EQ(manager_->view()->find("web")->backends.size(), 3u);
}

TEST_P(LifecycleTest, ADrainingBackendsAddressMayHaveANewId) {
  start_with(2);
  ASSERT_EQ(deregister({"b1"}), "");
  EXPECT_EQ(put("renamed", 1), "");
  EXPECT_FALSE(has("b1"));
  EXPECT_THAT(eligible(), ElementsAre("b2", "renamed"));
  EXPECT_EQ(put("another", 1), "ADDRESS_IN_USE");
}

TEST_P(LifecycleTest, ADrainThatCannotBePublishedIsTriedAgain) {
  start_with(2);
  ASSERT_EQ(deregister({"b1"}, within(1s)), "");
  dataplane_.before_publish = [](const auto&) { throw std::bad_alloc(); };
  tick(1s);
  EXPECT_EQ(health_of("b1"), Health::Draining);
  dataplane_.before_publish = nullptr;
  tick();
  EXPECT_EQ(health_of("b1"), Health::Drained);
}

TEST_P(LifecycleTest, ReplacingDrainsWhatIsMissing) {
  start_with(3);
  const auto replace = [this](std::optional<std::uint64_t> expected, const v1::Service& set) {
    return submit([set, expected](auto& state, auto* effect) {
      return state.replace_backends("web", set.backends(), Owner::Api, expected, {}, effect);
    });
  };
  v1::Service set;
  add(&set, "b1", 1);
  add(&set, "b4", 2);  // b2's address under another id
  const auto revision = manager_->view()->revision;
  EXPECT_EQ(run(replace(1, set)), "REVISION_MISMATCH") << "from before there was a backend";
  EXPECT_THAT(eligible(), ElementsAre("b1", "b2", "b3"));
  const auto answer = replace(revision, set);
  EXPECT_EQ(run(answer), "");
  settle();
  EXPECT_THAT(eligible(), ElementsAre("b1", "b4"));
  EXPECT_THAT(answer->reply.effect.changed_ids, ElementsAre("b4"));
  EXPECT_THAT(answer->reply.effect.removed_ids, ElementsAre("b2", "b3"));
  EXPECT_FALSE(has("b2"));
  EXPECT_EQ(health_of("b3"), Health::Draining);
  // Health does not make a revision stale; a change of the set does.
  const auto after = manager_->view()->revision;
  dataplane_.set_down(address(host(1)), "no route");
  settle();
  EXPECT_GT(manager_->view()->revision, after);
  EXPECT_EQ(run(replace(after, set)), "");
  ASSERT_EQ(put("b9", 9), "");
  EXPECT_EQ(run(replace(after, set)), "REVISION_MISMATCH");
  // A set that is wrong changes nothing, what it would have drained included.
  v1::Service bad;
  add(&bad, "b1", 1);
  bad.mutable_backends(0)->set_address(GetParam().vip);
  EXPECT_EQ(run(replace({}, bad)), "ADDRESS_IN_USE");
  EXPECT_EQ(health_of("b9"), Health::Healthy);
}

TEST_P(LifecycleTest, CheckingAloneChangesNothing) {
  start_with(2);
  const auto revision = manager_->view()->revision;
  const auto check = [this](Manager::Change change) {
    std::string reason = "NOT_ANSWERED";
    manager_->submit(
        std::move(change),
        [&](const auto& failure, const auto&) { reason = failure ? failure->reason : ""; },
        Manager::Answer::WhenChecked);
    settle();
    return reason;
  };
  v1::Service more;
  add(&more, "b3", 3);
  EXPECT_EQ(check([&](auto& state, auto* effect) {
              return state.register_backends("web", more.backends(), Owner::Api, effect);
            }),
            "");
  EXPECT_EQ(check([&](auto& state, auto* effect) {
              return state.deregister_backends("web", {"b1"}, {}, effect);
            }),
            "");
  EXPECT_EQ(check([&](auto& state, auto* effect) {
              return state.delete_service("web", Owner::Api, effect);
            }),
            "");
  EXPECT_EQ(check([&](auto& state, auto* effect) {
              return state.delete_service("none", Owner::Api, effect);
            }),
            "SERVICE_NOT_FOUND");
  tick();
  EXPECT_EQ(manager_->view()->revision, revision);
  EXPECT_THAT(eligible(), ElementsAre("b1", "b2"));
}

TEST_P(LifecycleTest, AVerdictAboutAnotherAddressIsIgnored) {
  start_with(1);
  const auto n_published = dataplane_.published.size();
  manager_->set_health("web", "b1", {address(host(7)), 8080}, {false, "refused"});
  manager_->set_health("web", "b9", {address(host(1)), 8080}, {false, "refused"});
  manager_->set_health("none", "b1", {address(host(1)), 8080}, {false, "refused"});
  settle();
  EXPECT_EQ(dataplane_.published.size(), n_published);
  manager_->set_health("web", "b1", {address(host(1)), 8080}, {false, "refused"});
  settle();
  EXPECT_EQ(dataplane_.published.size(), n_published + 1);
  manager_->set_health("web", "b1", {address(host(1)), 8080}, {false, "refused"});
  settle();
  EXPECT_EQ(dataplane_.published.size(), n_published + 1) << "no news";
}

}  // namespace
}  // namespace crab
