// SPDX-License-Identifier: Apache-2.0
// What loads, silence and slow starts make of the published state, with a clock of the test's.
#include "tests/unit/control/manager_fixture.h"

namespace crab {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ManagerLoadTest : public ManagerTest {
 protected:
  // web with b1 to bn, all eligible.
  void start_with(int n, std::uint32_t ramp_seconds = 0) {
    start();
    auto web = service("web");
    web.mutable_slow_start()->set_ramp_seconds(ramp_seconds);
    for (int i = 1; i <= n; ++i) add(&web, "b" + std::to_string(i), i);
    ASSERT_EQ(create(web), "");
    settle();
  }
  void report(const std::string& id, std::uint32_t open = 0, std::uint64_t accepted = 0) {
    LoadSample sample;
    sample.open = open;
    sample.counts = LoadSample::Counts{accepted, accepted, 0};
    sample.event = true;
    sample.interval = 10ms;
    manager_->load_table().report(slot(id), sample, manager_->now());
    manager_->reported(std::array{slot(id)});
  }
  void assign(const std::string& id, int n) {
    for (int i = 0; i < n; ++i) dataplane_.counters_of(0).count_assignment_to(slot(id));
  }
  void tick(std::chrono::milliseconds later = 50ms) {
    now_ += later;
    manager_->tick();
    settle();
  }
  ServiceLoad figures() const { return manager_->loads()->service("web"); }
  std::vector<std::uint32_t> weights() const {
    std::vector<std::uint32_t> weights;
    for (const auto& backend : dataplane_.find(GetParam().vip)->eligible) {
      weights.push_back(backend.weight);
    }
    return weights;
  }
};

INSTANTIATE_TEST_SUITE_P(Both, ManagerLoadTest, ::testing::ValuesIn(kManagerNets),
                         [](const auto& test) { return test.param.name; });

TEST_P(ManagerLoadTest, PoliciesHearOfReportsAndTicks) {
  start_with(2);
  const auto before = dataplane_.n_all_changed;
  report("b2");
  EXPECT_THAT(dataplane_.changed_slots, ElementsAre(slot("b2")));
  tick();
  EXPECT_EQ(dataplane_.n_all_changed, before + 1);
}

TEST_P(ManagerLoadTest, ASilentBackendIsTakenOutUntilItReports) {
  start_with(3);
  for (const char* id : {"b1", "b2"}) report(id);
  tick(100ms);
  report("b1");
  tick(101ms);  // b2 was heard of 201 ms ago; b3 never
  EXPECT_THAT(eligible(), ElementsAre("b1", "b3"));
  std::string reason;
  EXPECT_EQ(health_of("b2", &reason), Health::Unhealthy);
  EXPECT_EQ(reason, "agent silent");
  report("b1");
  tick();
  EXPECT_EQ(figures().n_reporting, 1u);
  EXPECT_EQ(figures().n_silent, 1u);
  EXPECT_EQ(figures().n_unreported, 1u);
  EXPECT_FALSE(figures().path_suspected);
  EXPECT_EQ(figures().oldest_age, 251ms);

  report("b2");
  tick();
  EXPECT_THAT(eligible(), ElementsAre("b1", "b2", "b3"));
}

TEST_P(ManagerLoadTest, WithMostOfThemSilentThePathIsSuspectedAndAllCarryOn) {
  start_with(3);
  for (const char* id : {"b1", "b2", "b3"}) report(id, 5);
  tick(150ms);
  report("b1", 5);
  tick(51ms);
  EXPECT_THAT(eligible(), ElementsAre("b1", "b2", "b3"));
  report("b1", 5);
  tick();
  EXPECT_TRUE(figures().path_suspected);
  EXPECT_EQ(figures().n_silent, 2u);
  EXPECT_EQ(manager_->loads()->backend(slot("b2")).load.open, 0u);
  EXPECT_TRUE(manager_->loads()->backend(slot("b2")).silent);
  EXPECT_EQ(manager_->loads()->backend(slot("b1")).load.open, 5u);

  // With one back it is the other that is silent, and not the path.
  for (const char* id : {"b1", "b2"}) report(id, 6);
  tick();
  EXPECT_THAT(eligible(), ElementsAre("b1", "b2"));
  for (const char* id : {"b1", "b2", "b3"}) report(id, 6);
  tick();
  EXPECT_THAT(eligible(), ElementsAre("b1", "b2", "b3"));
  tick(1ms);
  EXPECT_FALSE(figures().path_suspected);
  EXPECT_EQ(figures().n_silent, 0u);
}

TEST_P(ManagerLoadTest, TheOnlyBackendCarriesOnInSilence) {
  start_with(1);
  report("b1");
  tick(1h);
  EXPECT_THAT(eligible(), ElementsAre("b1"));
}

TEST_P(ManagerLoadTest, WhoSaysGoodbyeIsNotSilent) {
  start_with(3);
  for (const char* id : {"b1", "b2", "b3"}) report(id);
  manager_->load_table().forget_reports(slot("b3"));
  manager_->reported(std::array{slot("b3")});
  tick(199ms);
  for (const char* id : {"b1", "b2"}) report(id);
  tick(199ms);
  EXPECT_THAT(eligible(), ElementsAre("b1", "b2", "b3"));
  EXPECT_EQ(figures().n_unreported, 1u);
}

TEST_P(ManagerLoadTest, ABackendPutBackIsNew) {
  start_with(3);
  for (const char* id : {"b1", "b2", "b3"}) report(id);
  ASSERT_EQ(remove({"b3"}), "");
  tick(100ms);
  for (const char* id : {"b1", "b2"}) report(id);
  tick(150ms);
  for (const char* id : {"b1", "b2"}) report(id);
  ASSERT_EQ(put("b3", 3), "");
  tick();
  EXPECT_THAT(eligible(), ElementsAre("b1", "b2", "b3"));
}

TEST_P(ManagerLoadTest, ReportsThatWaitAreTakenBeforeSilenceIsJudged) {
  start_with(3);
  manager_->before_tick([this] {
    for (const char* id : {"b1", "b2", "b3"}) report(id);
  });
  tick();
  tick(10s);
  EXPECT_THAT(eligible(), ElementsAre("b1", "b2", "b3"));
  EXPECT_FALSE(figures().path_suspected);
}

TEST_P(ManagerLoadTest, SkewAndRegretFollowTheirFormulae) {
  start_with(2);
  report("b1", 6);
  report("b2", 2);
  tick();
  EXPECT_DOUBLE_EQ(figures().skew, 2.0);  // 6 less the mean of 6 and 2
  EXPECT_DOUBLE_EQ(figures().regret, 0.0);
  assign("b1", 3);  // each at a load of 6, where 2 was to be had
  assign("b2", 1);
  tick();
  EXPECT_DOUBLE_EQ(figures().regret, 3.0);
  EXPECT_EQ(figures().n_unconfirmed, 4u);
  report("b1", 9, 3);
  report("b2", 3, 1);
  tick();
  EXPECT_EQ(figures().n_unconfirmed, 0u);
  EXPECT_DOUBLE_EQ(figures().regret, 3.0);  // within the last second still
  for (int i = 0; i < 21; ++i) {
    report("b1", 9, 3);
    report("b2", 3, 1);
    tick();
  }
  EXPECT_DOUBLE_EQ(figures().regret, 0.0);
}

TEST_P(ManagerLoadTest, ANewcomerRampsUpInTenSteps) {
  start_with(2, 10);
  EXPECT_THAT(weights(), ElementsAre(1, 1));  // nobody is there to protect them
  tick(10s);
  ASSERT_EQ(put("b3", 3), "");
  settle();
  for (std::uint32_t tenths = 1; tenths < 10; ++tenths) {
    EXPECT_THAT(weights(), ElementsAre(10, 10, tenths));
    const auto n_published = dataplane_.published.size();
    tick(999ms);
    EXPECT_EQ(dataplane_.published.size(), n_published) << "between two steps";
    tick(1ms);
    EXPECT_EQ(dataplane_.published.size(), n_published + 1);
  }
  EXPECT_THAT(weights(), ElementsAre(1, 1, 1));
}

TEST_P(ManagerLoadTest, ReEntryAfterUnhealthyCountsAsNew) {
  start_with(2, 10);
  tick(10s);
  dataplane_.set_down(address(host(2)), "no ARP answer");
  settle();
  EXPECT_THAT(weights(), ElementsAre(1));
  dataplane_.set_up(address(host(2)));
  settle();
  EXPECT_THAT(weights(), ElementsAre(10, 1));
  EXPECT_EQ(manager_->view()->tenths_of_weight(*manager_->view()->find("web"),
                                               manager_->view()->find("web")->backends.at("b2")),
            1u);
}

TEST_P(ManagerLoadTest, ThoseThatStartTogetherDoNotRamp) {
  start_with(1, 10);
  tick(5s);
  ASSERT_EQ(put("b2", 2), "");  // b1 is not past its own ramp
  settle();
  EXPECT_THAT(weights(), ElementsAre(1, 1));
  tick(5s);
  EXPECT_THAT(weights(), ElementsAre(1, 1));
}

}  // namespace
}  // namespace crab
