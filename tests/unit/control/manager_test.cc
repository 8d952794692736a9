// SPDX-License-Identifier: Apache-2.0
// What the desired state allows, and what of it reaches the datapath.
#include "tests/unit/control/manager_fixture.h"

namespace crab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

INSTANTIATE_TEST_SUITE_P(Both, ManagerTest, ::testing::ValuesIn(kManagerNets),
                         [](const auto& test) { return test.param.name; });

TEST_P(ManagerTest, PublishesTheConfiguredServices) {
  v1::Config config;
  *config.add_services() = service("web");
  add(config.mutable_services(0), "b1", 1);
  add(config.mutable_services(0), "b2", 2);
  start(config);
  const auto& spec = dataplane_.published.back();
  EXPECT_EQ(spec.node, 7);
  EXPECT_EQ(spec.generation, manager_->view()->revision);
  EXPECT_THAT(eligible(), ElementsAre("b1", "b2"));
  ASSERT_EQ(dataplane_.virtual_addresses.size(), 1u);
  EXPECT_EQ(dataplane_.virtual_addresses[0].address, address(GetParam().vip));
  EXPECT_TRUE(dataplane_.virtual_addresses[0].announce);
  EXPECT_THAT(dataplane_.resolving, ElementsAre(address(host(1)), address(host(2))));
}

TEST_P(ManagerTest, StartSaysInOneLineWhatTheNodeRefuses) {
  v1::Config config;
  *config.add_services() = service("web", GetParam().own);
  try {
    manager_->start(config);
    FAIL() << "it started";
  } catch (const std::runtime_error& e) {
    EXPECT_THAT(e.what(), HasSubstr("service 'web'"));
    EXPECT_THAT(e.what(), HasSubstr("service.address: " + std::string(GetParam().own) +
                                    " is an address of the node itself"));
  }
}

TEST_P(ManagerTest, StartFailsWhenAWorkerDoesNotRun) {
  dataplane_.stuck_workers = {1};
  EXPECT_THROW(manager_->start({}), std::runtime_error);
}

TEST_P(ManagerTest, RepeatingChangesNothing) {
  start();
  auto web = service("web");
  add(&web, "b1", 1);
  EXPECT_EQ(create(web), "");
  const auto n_published = dataplane_.published.size();
  const auto revision = manager_->view()->revision;
  EXPECT_EQ(create(web), "");
  EXPECT_EQ(put("b1", 1), "");
  EXPECT_EQ(remove({"b9"}), "");
  EXPECT_EQ(dataplane_.published.size(), n_published);
  EXPECT_EQ(manager_->view()->revision, revision);
}

TEST_P(ManagerTest, ABatchIsAppliedWholeOrNotAtAll) {
  start();
  ASSERT_EQ(create(service("web")), "");
  const auto n_published = dataplane_.published.size();
  v1::Service batch;
  add(&batch, "b1", 1);
  add(&batch, "b2", 2);
  batch.mutable_backends(1)->set_address(GetParam().vip);
  const auto answer = submit_register("web", batch);
  EXPECT_EQ(run(answer), "ADDRESS_IN_USE");
  ASSERT_EQ(answer->failure->fields.size(), 1u);
  EXPECT_EQ(answer->failure->fields[0].field, "backends[1].address");
  EXPECT_THAT(manager_->view()->find("web")->backends, IsEmpty());
  EXPECT_EQ(dataplane_.published.size(), n_published);
}

TEST_P(ManagerTest, BackendsMayTradePlacesWithinABatch) {
  start();
  auto web = service("web");
  add(&web, "b1", 1);
  add(&web, "b2", 2);
  ASSERT_EQ(create(web), "");
  EXPECT_EQ(put("b1", 2), "ADDRESS_IN_USE");
  v1::Service swapped;
  add(&swapped, "b1", 2);
  add(&swapped, "b2", 1);
  EXPECT_EQ(run(submit_register("web", swapped)), "");
  EXPECT_EQ(manager_->view()->find("web")->backends.at("b1").definition.address, address(host(2)));
  EXPECT_EQ(put("b3", 1), "ADDRESS_IN_USE");
}

TEST_P(ManagerTest, CollisionsWithTheNodeAreRefused) {
  start();
  auto web = service("web");
  add(&web, "b1", 1);
  ASSERT_EQ(create(web), "");
  EXPECT_EQ(create(service("own", GetParam().own)), "ADDRESS_IN_USE");
  EXPECT_EQ(create(service("same")), "ADDRESS_IN_USE");
  EXPECT_EQ(create(service("at-backend", host(1).c_str())), "ADDRESS_IN_USE");
  auto itself = service("itself", GetParam().other_vip);
  add(&itself, "b1", 1);
  itself.mutable_backends(0)->set_address(GetParam().other_vip);
  EXPECT_EQ(create(itself), "ADDRESS_IN_USE");
  v1::Service own;
  add(&own, "b2", 2);
  own.mutable_backends(0)->set_address(GetParam().own);
  EXPECT_EQ(run(submit_register("web", own)), "ADDRESS_IN_USE");
  auto other = service("web");
  other.set_port(81);
  EXPECT_EQ(create(other), "SERVICE_EXISTS");
  EXPECT_EQ(manager_->view()->services.size(), 1u);
}

TEST_P(ManagerTest, NextHopsDecideWhoIsEligible) {
  dataplane_.resolve_at_once = false;
  start();
  auto web = service("web");
  add(&web, "b1", 1);
  add(&web, "b2", 2);
  ASSERT_EQ(create(web), "");
  EXPECT_THAT(eligible(), IsEmpty());
  std::string reason;
  EXPECT_EQ(health_of("b1", &reason), Health::Initial);
  EXPECT_EQ(reason, "next hop not looked up yet");

  dataplane_.set_down(address(host(2)), "no route");
  dataplane_.set_up(address(host(1)));
  settle();
  EXPECT_THAT(eligible(), ElementsAre("b1"));
  EXPECT_EQ(health_of("b1"), Health::Healthy);
  EXPECT_EQ(health_of("b2", &reason), Health::Initial);
  EXPECT_EQ(reason, "no route");

  dataplane_.set_down(address(host(1)), "neighbour does not answer");
  settle();
  EXPECT_THAT(eligible(), IsEmpty());
  EXPECT_EQ(health_of("b1", &reason), Health::Unhealthy);
  EXPECT_EQ(reason, "neighbour does not answer");

  dataplane_.set_up(address(host(1)));
  settle();
  EXPECT_THAT(eligible(), ElementsAre("b1"));

  // News of what nobody asked for, or that is none, publishes nothing.
  const auto n_published = dataplane_.published.size();
  dataplane_.set_up(address(host(1)));
  dataplane_.set_up(address(host(9)));
  settle();
  EXPECT_EQ(dataplane_.published.size(), n_published);

  // Forgotten with the last backend there.
  EXPECT_EQ(remove({"b1"}), "");
  EXPECT_THAT(dataplane_.resolving, ElementsAre(address(host(2))));
  EXPECT_EQ(put("b1", 1), "");
  EXPECT_EQ(health_of("b1"), Health::Initial);
}

TEST_P(ManagerTest, ALoadSlotBelongsToAddressAndPort) {
  start();
  auto web = service("web");
  add(&web, "b1", 1);
  ASSERT_EQ(create(web), "");
  auto other = service("other", GetParam().other_vip);
  add(&other, "x", 1);
  add(&other, "y", 1, 9090);
  ASSERT_EQ(create(other), "");
  const auto& others = manager_->view()->find("other")->backends;
  EXPECT_EQ(*others.at("x").load_slot, slot("b1"));
  EXPECT_NE(*others.at("y").load_slot, slot("b1"));
  // Another id or weight is the same backend to the datapath.
  const auto before = slot("b1");
  EXPECT_EQ(remove({"b1"}), "");
  EXPECT_EQ(put("renamed", 1), "");
  EXPECT_EQ(slot("renamed"), before);
}

TEST_P(ManagerTest, AFreedSlotIsQuarantined) {
  start();
  auto web = service("web");
  add(&web, "b1", 1);
  ASSERT_EQ(create(web), "");
  const auto freed = slot("b1");
  dataplane_.counters_of(0).count_assignment_to(freed);
  ASSERT_EQ(remove({"b1"}), "");
  dataplane_.published.clear();  // the snapshots in it hold no slots, but make the point

  now_ += kIndexQuarantine - std::chrono::seconds(1);
  EXPECT_EQ(put("b2", 2), "");
  EXPECT_NE(slot("b2"), freed);
  // Who had it gets it back, with its count.
  EXPECT_EQ(put("b1", 1), "");
  EXPECT_EQ(slot("b1"), freed);
  EXPECT_EQ(count_assigned(dataplane_, manager_->view()->find("web")->backends.at("b1")), 1u);

  ASSERT_EQ(remove({"b1"}), "");
  now_ += kIndexQuarantine;
  EXPECT_EQ(put("b3", 3), "");
  EXPECT_EQ(slot("b3"), freed);
  // A new holder starts from zero, whatever the slot counted before.
  EXPECT_EQ(count_assigned(dataplane_, manager_->view()->find("web")->backends.at("b3")), 0u);
}

TEST_P(ManagerTest, ADeletedServiceCanBeCreatedAgain) {
  start();
  auto web = service("web");
  add(&web, "b1", 1);
  ASSERT_EQ(create(web), "");
  EXPECT_EQ(destroy("web"), "");
  EXPECT_THAT(dataplane_.published.back().services, IsEmpty());
  EXPECT_THAT(dataplane_.virtual_addresses, IsEmpty());
  EXPECT_THAT(dataplane_.resolving, IsEmpty());
  EXPECT_EQ(destroy("web"), "SERVICE_NOT_FOUND");
  EXPECT_EQ(create(web), "");
  EXPECT_THAT(eligible(), ElementsAre("b1"));
}

TEST_P(ManagerTest, ThePolicyInstanceOutlivesChangesOfBackends) {
  start();
  ASSERT_EQ(create(service("web")), "");
  const auto instance = dataplane_.find(GetParam().vip)->policy;
  ASSERT_EQ(put("b1", 1), "");
  ASSERT_EQ(put("b2", 2), "");
  ASSERT_EQ(remove({"b1"}), "");
  EXPECT_EQ(dataplane_.find(GetParam().vip)->policy, instance);
  ASSERT_EQ(destroy("web"), "");
  ASSERT_EQ(create(service("web")), "");
  EXPECT_NE(dataplane_.find(GetParam().vip)->policy, instance);
}

TEST_P(ManagerTest, TheFilesServicesStayAndTheirBackendsMayBeTakenOut) {
  v1::Config config;
  *config.add_services() = service("web");
  add(config.mutable_services(0), "b1", 1);
  start(config);
  const auto owner = [&] {
    return manager_->view()->find("web")->backends.at("b1").definition.owner;
  };
  EXPECT_EQ(destroy("web"), "OWNED_BY_CONFIG");
  EXPECT_EQ(put("b1", 1), "");  // no change, and so no change of owner
  EXPECT_EQ(owner(), Owner::Config);
  EXPECT_EQ(put("b1", 1, 9090), "");
  EXPECT_EQ(owner(), Owner::Api);
  EXPECT_EQ(remove({"b1"}), "");
  EXPECT_THAT(eligible(), IsEmpty());
}

TEST_P(ManagerTest, AVirtualAddressIsAnnouncedIfOneOfItsServicesWantsIt) {
  start();
  auto quiet = service("quiet");
  quiet.set_announce(v1::ANNOUNCE_NONE);
  ASSERT_EQ(create(quiet), "");
  EXPECT_FALSE(dataplane_.virtual_addresses.at(0).announce);
  auto loud = service("loud");
  loud.set_port(443);
  ASSERT_EQ(create(loud), "");
  ASSERT_EQ(dataplane_.virtual_addresses.size(), 1u);
  EXPECT_TRUE(dataplane_.virtual_addresses[0].announce);
}

TEST_P(ManagerTest, FormAndKeyFollowTheService) {
  start();
  const bool v4 = address(GetParam().vip).is_v4();
  ASSERT_EQ(create(service("plain")), "");
  EXPECT_EQ(dataplane_.find(GetParam().vip)->form, v4 ? RedirectForm::Address : RedirectForm::Tag);
  EXPECT_FALSE(dataplane_.find(GetParam().vip)->key);
  auto keyed = service("keyed", GetParam().other_vip);
  keyed.add_keys("000102030405060708090a0b0c0d0eFF");
  keyed.add_keys("ffffffffffffffffffffffffffffffff");
  ASSERT_EQ(create(keyed), "");
  const auto* spec = dataplane_.find(GetParam().other_vip);
  EXPECT_EQ(spec->form, v4 ? RedirectForm::AddressTag : RedirectForm::Tag);
  EXPECT_EQ(spec->key->at(1), 1);
  EXPECT_EQ(spec->key->at(15), 0xff);
}

TEST_P(ManagerTest, ABackendLimitIsAFullService) {
  start();
  ASSERT_EQ(create(service("web")), "");
  dataplane_.resolve_at_once = false;
  for (int batch = 0; batch < kMaxBackendsPerService / kMaxBatch; ++batch) {
    v1::Service many;
    for (int i = 0; i < kMaxBatch; ++i) {
      add(&many, "b" + std::to_string(batch) + "-" + std::to_string(i), i % 200,
          static_cast<unsigned>(1 + batch * kMaxBatch + i));
    }
    ASSERT_EQ(run(submit_register("web", many)), "");
  }
  EXPECT_EQ(put("one-more", 1, 50'000), "BACKEND_LIMIT");
  EXPECT_EQ(manager_->view()->find("web")->backends.size(), 10'000u);
}

TEST_P(ManagerTest, APolicyIsSwitchedAndTheOldOneLivesAsLongAsItsSnapshot) {
  start();
  auto web = service("web");
  add(&web, "b1", 1);
  ASSERT_EQ(create(web), "");
  const auto set = [this](const char* name, const char* parameter = nullptr) {
    v1::Policy policy;
    policy.set_name(name);
    if (parameter != nullptr) (*policy.mutable_parameters())[parameter] = "1";
    return submit(
        [policy](auto& state, auto* effect) { return state.set_policy("web", policy, effect); });
  };
  const std::weak_ptr<PolicyInstance> old = manager_->view()->find("web")->policy;
  EXPECT_EQ(run(set("random")), "");
  EXPECT_EQ(dataplane_.published.back().services[0].policy->name(), "random");
  EXPECT_EQ(manager_->view()->find("web")->definition.policy, "random");
  EXPECT_FALSE(old.expired());  // a snapshot still has it
  dataplane_.published.erase(dataplane_.published.begin(), dataplane_.published.end() - 1);
  EXPECT_TRUE(old.expired());

  const auto now = manager_->view()->find("web")->policy;
  EXPECT_EQ(run(set("random")), "");
  EXPECT_EQ(manager_->view()->find("web")->policy, now);  // said again, nothing changes
  const auto unknown = set("no_such");
  EXPECT_EQ(run(unknown), "INVALID_FIELDS");
  EXPECT_EQ(unknown->failure->fields.at(0).field, "policy.name");
  const auto bad = set("random", "colour");
  EXPECT_EQ(run(bad), "INVALID_FIELDS");
  EXPECT_EQ(bad->failure->fields.at(0).field, "policy.parameters");
  EXPECT_EQ(dataplane_.published.size(), 1u);
  EXPECT_EQ(manager_->view()->find("web")->policy, now);

  dataplane_.before_publish = [](const auto&) { throw PolicyError("not with one backend"); };
  EXPECT_EQ(run(set("round_robin")), "POLICY_REFUSED");
  EXPECT_EQ(manager_->view()->find("web")->policy, now);
}

}  // namespace
}  // namespace crab
