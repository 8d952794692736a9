// SPDX-License-Identifier: Apache-2.0
// What makes a backend eligible, and what state it is shown in, case by case.
#include "control/view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace crab {
namespace {

using namespace std::chrono_literals;

class ViewTest : public ::testing::Test {
 protected:
  // web with b0 to b3, checked, their next hops known.
  ViewTest() {
    service_->definition.name = "web";
    service_->definition.checked = true;
    for (std::uint32_t i = 0; i < 4; ++i) {
      BackendRecord backend;
      backend.definition.address = *IpAddress::parse("10.0.1." + std::to_string(i + 1));
      backend.definition.port = 80;
      backend.load_slot = std::make_shared<const std::uint32_t>(i);
      service_->backends["b" + std::to_string(i)] = backend;
      view_.next_hops[backend.definition.address] = {{NextHop{}, ""}, true};
    }
    view_.services["web"] = service_;
  }
  BackendRecord& backend(int i) { return service_->backends.at("b" + std::to_string(i)); }
  void judge(std::uint32_t slot, bool healthy, bool unusable = false) {
    (*verdicts_)[slot] = {healthy, healthy ? "" : "connection refused", unusable};
    view_.verdicts["web"] = verdicts_;
  }
  Health health(int i) {
    reason_.clear();
    return view_.health_of(*service_, backend(i), &reason_);
  }
  std::string eligible() {
    judge_minima(&view_);
    std::string ids;
    for (const auto& [id, one] : service_->backends) {
      if (view_.is_eligible(*service_, one)) ids += id;
    }
    return ids;
  }

  std::shared_ptr<ServiceRecord> service_ = std::make_shared<ServiceRecord>();
  std::shared_ptr<Verdicts> verdicts_ = std::make_shared<Verdicts>();
  View view_;
  std::string reason_;
};

TEST_F(ViewTest, ACheckedServicesBackendsWaitForTheirVerdict) {
  EXPECT_EQ(health(0), Health::Initial);
  EXPECT_EQ(reason_, "not checked yet");
  EXPECT_EQ(eligible(), "");
  judge(0, true);
  judge(1, false);
  EXPECT_EQ(health(0), Health::Healthy);
  EXPECT_EQ(health(1), Health::Unhealthy);
  EXPECT_EQ(reason_, "connection refused");
  EXPECT_EQ(eligible(), "b0");
  service_->definition.checked = false;
  EXPECT_EQ(eligible(), "b0b1b2b3") << "old verdicts of a service whose checks are off";
}

TEST_F(ViewTest, EachConditionAloneKeepsABackendOut) {
  for (std::uint32_t i = 0; i < 4; ++i) judge(i, true);
  EXPECT_EQ(eligible(), "b0b1b2b3");
  backend(0).administration.state = Admin::Maintenance;
  backend(1).lease_expired = true;
  view_.next_hops[backend(2).definition.address] = {{std::nullopt, "no ARP answer"}, true};
  view_.silent.load_slots.insert(3);
  EXPECT_EQ(eligible(), "");
  EXPECT_EQ(health(0), Health::Maintenance);
  EXPECT_EQ(health(1), Health::Unhealthy);
  EXPECT_EQ(reason_, "lease expired");
  EXPECT_EQ(health(2), Health::Unhealthy);
  EXPECT_EQ(reason_, "no ARP answer");
  EXPECT_EQ(health(3), Health::Unhealthy);
  EXPECT_EQ(reason_, "agent silent");
}

TEST_F(ViewTest, BelowTheMinimumAllThatCanBeReachedAreTaken) {
  service_->definition.min_healthy_percent = 50;
  judge(0, true);
  judge(1, false);
  judge(2, false);
  judge(3, false, true);  // does not understand redirected SYNs
  EXPECT_EQ(eligible(), "b0b1b2");
  // Who is out by request neither counts nor comes back.
  backend(1).administration.state = Admin::Draining;
  backend(2).administration.state = Admin::Drained;
  EXPECT_EQ(eligible(), "b0") << "one of two is 50%";
  service_->definition.min_healthy_percent = 51;
  EXPECT_EQ(eligible(), "b0");
  judge(0, false);
  EXPECT_EQ(eligible(), "b0");
  view_.next_hops.erase(backend(0).definition.address);
  EXPECT_EQ(eligible(), "");
}

TEST_F(ViewTest, BelowTheMinimumNoneIsTakenIfTheServiceSaysSo) {
  service_->definition.min_healthy_percent = 75;
  service_->definition.when_below = WhenBelow::None;
  judge(0, true);
  judge(1, true);
  judge(2, true);
  EXPECT_EQ(eligible(), "b0b1b2") << "who has not been checked yet does not count";
  judge(3, false);
  EXPECT_EQ(eligible(), "b0b1b2");
  judge(2, false);
  EXPECT_EQ(eligible(), "");
}

TEST_F(ViewTest, AStateBeginsWhenItChanges) {
  const WallTime start{1h};
  judge(0, true);
  View second = view_;
  follow_statuses({}, start, &view_);
  EXPECT_EQ(view_.status_of(*service_, "b0").since, start);
  follow_statuses(view_, start + 1s, &second);
  EXPECT_EQ(second.status_of(*service_, "b0").since, start);
  EXPECT_EQ(second.statuses["web"], view_.statuses["web"]) << "shared while nothing changes";
  View third = second;
  judge(0, false);
  third.verdicts["web"] = verdicts_;
  follow_statuses(second, start + 2s, &third);
  EXPECT_EQ(third.status_of(*service_, "b0").since, start + 2s);
  EXPECT_EQ(third.status_of(*service_, "b0").reason, "connection refused");
  EXPECT_EQ(third.status_of(*service_, "b1").since, start);
}

}  // namespace
}  // namespace crab
