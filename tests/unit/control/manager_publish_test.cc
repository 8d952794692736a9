// SPDX-License-Identifier: Apache-2.0
// Publishing: together, in vain, or with a worker that does not follow.
#include "tests/unit/control/manager_fixture.h"

namespace crab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_P(ManagerTest, WaitingChangesArePublishedTogether) {
  start();
  ASSERT_EQ(create(service("web")), "");
  const auto n_published = dataplane_.published.size();
  dataplane_.resolve_at_once = false;
  std::vector<std::shared_ptr<Answer>> answers;
  for (int i = 1; i <= 9; ++i) {
    v1::Service one;
    add(&one, "b" + std::to_string(i), i);
    answers.push_back(submit_register("web", one));
  }
  settle();
  for (const auto& answer : answers) EXPECT_FALSE(answer->failure);
  EXPECT_EQ(manager_->view()->find("web")->backends.size(), 9u);
  EXPECT_EQ(dataplane_.published.size(), n_published + 1);
}

TEST_P(ManagerTest, NothingStaysOfAChangeThatCannotBePublished) {
  start();
  auto web = service("web");
  add(&web, "b1", 1);
  ASSERT_EQ(create(web), "");
  const auto revision = manager_->view()->revision;
  dataplane_.before_publish = [](const auto&) { throw std::bad_alloc(); };
  EXPECT_EQ(put("b2", 2), "OUT_OF_MEMORY");
  EXPECT_EQ(destroy("web"), "OUT_OF_MEMORY");
  EXPECT_EQ(create(service("other", GetParam().other_vip)), "OUT_OF_MEMORY");
  dataplane_.before_publish = [](const auto&) { throw PolicyError("too many"); };
  EXPECT_EQ(put("b2", 2), "POLICY_REFUSED");
  dataplane_.before_publish = [](const auto&) { throw std::runtime_error("odd"); };
  EXPECT_EQ(remove({"b1"}), "PUBLISH_FAILED");
  EXPECT_EQ(manager_->view()->revision, revision);
  EXPECT_EQ(manager_->view()->services.size(), 1u);
  EXPECT_EQ(manager_->publish_stats().n_failed, 5u);

  // And the desired state is what it was: the same changes go through now.
  dataplane_.before_publish = nullptr;
  EXPECT_EQ(put("b2", 2), "");
  EXPECT_EQ(create(service("other", GetParam().other_vip)), "");
  EXPECT_EQ(remove({"b1"}), "");
  EXPECT_THAT(eligible(), ElementsAre("b2"));
}

TEST_P(ManagerTest, AmongChangesPublishedTogetherOnlyTheCulpritFails) {
  start();
  ASSERT_EQ(create(service("web")), "");
  dataplane_.before_publish = [](const SnapshotSpec& spec) {
    for (const auto& service : spec.services) {
      if (service.port == to_be(std::uint16_t{666})) throw std::runtime_error("not that one");
    }
  };
  auto bad = service("bad", GetParam().other_vip);
  bad.set_port(666);
  v1::Service good;
  add(&good, "b1", 1);
  const auto first = submit_register("web", good);
  const auto culprit = submit_create(bad);
  const auto last = submit_create(service("other", GetParam().other_vip));
  EXPECT_EQ(run(first), "");
  EXPECT_EQ(run(culprit), "PUBLISH_FAILED");
  EXPECT_EQ(run(last), "");
  EXPECT_EQ(manager_->view()->services.size(), 2u);
  EXPECT_THAT(eligible(), ElementsAre("b1"));
}

TEST_P(ManagerTest, AStuckWorkerIsNamedAndTheChangeStays) {
  std::vector<bool> serving;
  manager_->on_serving([&](bool is) { serving.push_back(is); });
  start();
  ASSERT_EQ(create(service("web")), "");
  dataplane_.stuck_workers = {1};
  v1::Service one;
  add(&one, "b1", 1);
  const auto answer = submit_register("web", one);
  EXPECT_EQ(run(answer), "WORKER_STUCK");
  EXPECT_EQ(answer->failure->code, FailureCode::Unavailable);
  EXPECT_THAT(answer->failure->message, HasSubstr("worker 1"));
  EXPECT_EQ(answer->failure->metadata.at("workers"), "1");
  EXPECT_EQ(manager_->view()->find("web")->backends.size(), 1u);
  // A repetition is no news, but is not in force either.
  EXPECT_EQ(put("b1", 1), "WORKER_STUCK");
  dataplane_.stuck_workers.clear();
  EXPECT_EQ(put("b1", 1), "");
  EXPECT_THAT(serving, ElementsAre(false, true));
}

TEST_P(ManagerTest, AHostPathThatCannotFollowIsToldAndTriedAgain) {
  start();
  dataplane_.before_virtual_addresses = [] { throw std::runtime_error("no such device"); };
  const auto answer = submit_create(service("web"));
  EXPECT_EQ(run(answer), "HOST_PATH");
  EXPECT_THAT(answer->failure->message, HasSubstr("no such device"));
  EXPECT_THAT(dataplane_.virtual_addresses, IsEmpty());
  dataplane_.before_virtual_addresses = nullptr;
  EXPECT_EQ(create(service("web")), "");
  EXPECT_EQ(dataplane_.virtual_addresses.size(), 1u);
}

}  // namespace
}  // namespace crab
