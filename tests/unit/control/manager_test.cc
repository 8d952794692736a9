// SPDX-License-Identifier: Apache-2.0
#include "control/manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/control/fake_dataplane.h"

namespace crab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The same tests over both families.
struct Net {
  const char* name;
  const char* vip;
  const char* other_vip;
  const char* own;
  const char* hosts;  // a backend's address is this with a digit after it
};

constexpr Net kNets[] = {{"Ipv4", "10.0.0.100", "10.0.0.101", "10.0.0.1", "10.0.1."},
                         {"Ipv6", "fd00::100", "fd00::101", "fd00::1", "fd00:1::"}};

class ManagerTest : public ::testing::TestWithParam<Net> {
 protected:
  struct Answer {
    std::optional<Failure> failure;
    Manager::Reply reply;
  };

  ManagerTest() {
    dataplane_.own.insert(address(GetParam().own));
    manager_ = Manager::make(io_, dataplane_, 7, [this] { return now_; });
  }

  static IpAddress address(const std::string& text) { return IpAddress::parse(text).value(); }
  static std::string host(int i) { return GetParam().hosts + std::to_string(i); }

  void start(const v1::Config& config = {}) {
    manager_->start(config);
    settle();
  }
  void settle() {
    io_.restart();
    io_.poll();
  }

  static v1::Service service(const std::string& name, const char* vip = GetParam().vip) {
    v1::Service message;
    message.set_name(name);
    message.set_address(vip);
    message.set_port(80);
    return message;
  }
  static void add(v1::Service* message, const std::string& id, int i, unsigned port = 8080) {
    auto* backend = message->add_backends();
    backend->set_id(id);
    backend->set_address(host(i));
    backend->set_port(port);
  }

  std::shared_ptr<Answer> submit(Manager::Change change) {
    auto answer = std::make_shared<Answer>();
    answer->failure.emplace().reason = "NOT_ANSWERED";
    manager_->submit(std::move(change), [answer](const auto& failure, const auto& reply) {
      *answer = {failure, reply};
    });
    return answer;
  }
  std::shared_ptr<Answer> submit_create(const v1::Service& message) {
    return submit([message](auto& state, auto* effect) {
      return state.create_service(message, Owner::Api, effect);
    });
  }
  std::shared_ptr<Answer> submit_register(const std::string& name, const v1::Service& backends) {
    return submit([name, backends](auto& state, auto* effect) {
      return state.register_backends(name, backends.backends(), Owner::Api, effect);
    });
  }
  // The reason of the failure, or "".
  std::string run(const std::shared_ptr<Answer>& answer) {
    settle();
    return answer->failure ? answer->failure->reason : "";
  }
  std::string create(const v1::Service& message) { return run(submit_create(message)); }
  std::string put(const std::string& id, int i, unsigned port = 8080) {
    v1::Service message;
    add(&message, id, i, port);
    return run(submit_register("web", message));
  }
  std::string remove(const std::vector<std::string>& ids) {
    return run(submit([ids](auto& state, auto* effect) {
      return state.deregister_backends("web", ids, effect);
    }));
  }
  std::string destroy(const std::string& name) {
    return run(submit([name](auto& state, auto* effect) {
      return state.delete_service(name, Owner::Api, effect);
    }));
  }

  std::vector<std::string> eligible(const char* vip = GetParam().vip) const {
    std::vector<std::string> ids;
    const auto* spec = dataplane_.find(vip);
    if (spec == nullptr) return {"no such service"};
    for (const auto& backend : spec->eligible) ids.push_back(backend.id);
    return ids;
  }
  std::uint32_t slot(const std::string& id) const {
    return *manager_->view()->find("web")->backends.at(id).load_slot;
  }

  boost::asio::io_context io_;
  FakeDataplane dataplane_;
  std::chrono::steady_clock::time_point now_{};
  std::shared_ptr<Manager> manager_;
};

INSTANTIATE_TEST_SUITE_P(Both, ManagerTest, ::testing::ValuesIn(kNets),
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
  EXPECT_EQ(manager_->view()->health_of(address(host(1)), &reason), Health::Initial);
  EXPECT_EQ(reason, "next hop not looked up yet");

  dataplane_.set_down(address(host(2)), "no route");
  dataplane_.set_up(address(host(1)));
  settle();
  EXPECT_THAT(eligible(), ElementsAre("b1"));
  EXPECT_EQ(manager_->view()->health_of(address(host(1))), Health::Healthy);
  EXPECT_EQ(manager_->view()->health_of(address(host(2)), &reason), Health::Initial);
  EXPECT_EQ(reason, "no route");

  dataplane_.set_down(address(host(1)), "neighbour does not answer");
  settle();
  EXPECT_THAT(eligible(), IsEmpty());
  EXPECT_EQ(manager_->view()->health_of(address(host(1)), &reason), Health::Unhealthy);
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
  EXPECT_EQ(manager_->view()->health_of(address(host(1))), Health::Initial);
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

}  // namespace
}  // namespace crab
