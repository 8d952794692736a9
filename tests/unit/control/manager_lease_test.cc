// SPDX-License-Identifier: Apache-2.0
// Leases that run out, alone and in masses; and what of the desired state outlives the process.
#include "crab/v1/control.pb.h"
#include "tests/unit/control/manager_fixture.h"

namespace crab {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class LeaseTest : public ManagerTest {
 protected:
  void start_web() {
    start();
    ASSERT_EQ(create(service("web")), "");
  }
  std::string grant(const std::string& id, std::uint32_t ttl_ms = 1'000,
                    v1::OnExpiry on_expiry = v1::ON_EXPIRY_DRAIN) {
    v1::Lease lease;
    lease.set_id(id);
    lease.set_ttl_ms(ttl_ms);
    lease.set_on_expiry(on_expiry);
    return run(
        submit([lease](auto& state, auto* effect) { return state.grant_lease(lease, effect); }));
  }
  std::string put_leased(const std::string& id, int i, const std::string& lease) {
    v1::Service message;
    add(&message, id, i);
    message.mutable_backends(0)->set_lease_id(lease);
    return run(submit_register("web", message));
  }
  bool keep_alive(const std::string& id) {
    bool known = false;
    manager_->keep_alive(id, [&](const LeaseRecord* lease) { known = lease != nullptr; });
    settle();
    return known;
  }
  std::string revoke(const std::string& id) {
    return run(submit([id](auto& state, auto* effect) { return state.revoke_lease(id, effect); }));
  }
  // n backends with a lease each: l1 for b1, and so on.
  void start_leased(int n) {
    start_web();
    for (int i = 1; i <= n; ++i) {
      ASSERT_EQ(grant("l" + std::to_string(i)), "");
      ASSERT_EQ(put_leased("b" + std::to_string(i), i, "l" + std::to_string(i)), "");
    }
    settle();
  }
  void tick(std::chrono::milliseconds later = 50ms) {
    now_ += later;
    manager_->tick();
    settle();
  }
  DesiredState::Records records() {
    DesiredState::Records records;
    manager_->with_state([&](const DesiredState& state) { records = state.durable_records(); });
    settle();
    return records;
  }
  bool frozen() const { return manager_->view()->frozen.contains("web"); }
};

INSTANTIATE_TEST_SUITE_P(Both, LeaseTest, ::testing::ValuesIn(kManagerNets),
                         [](const auto& test) { return test.param.name; });

TEST_P(LeaseTest, ABackendLivesAsLongAsItsLeaseIsKeptAlive) {
  start_leased(2);
  EXPECT_EQ(put_leased("b9", 9, "none"), "LEASE_NOT_FOUND");
  for (int i = 0; i < 5; ++i) {
    now_ += 900ms;
    EXPECT_TRUE(keep_alive("l1"));
    EXPECT_TRUE(keep_alive("l2"));
    tick(1ms);
  }
  EXPECT_THAT(eligible(), ElementsAre("b1", "b2"));
  now_ += 900ms;
  EXPECT_TRUE(keep_alive("l2"));
  tick(101ms);
  EXPECT_THAT(eligible(), ElementsAre("b2"));
  EXPECT_EQ(health_of("b1"), Health::Draining);
  EXPECT_FALSE(keep_alive("l1"));
  EXPECT_EQ(manager_->counters().n_expired_leases, 1u);
  EXPECT_EQ(manager_->counters().n_leases, 1u);
  // Registered with another lease it is back.
  ASSERT_EQ(grant("l3"), "");
  ASSERT_EQ(put_leased("b1", 1, "l3"), "");
  EXPECT_THAT(eligible(), ElementsAre("b1", "b2"));
}

TEST_P(LeaseTest, ALeaseSaysWhatBecomesOfItsBackends) {
  start_web();
  ASSERT_EQ(grant("mark", 1'000, v1::ON_EXPIRY_MARK_UNHEALTHY), "");
  ASSERT_EQ(grant("remove", 1'000, v1::ON_EXPIRY_REMOVE), "");
  ASSERT_EQ(put_leased("b1", 1, "mark"), "");
  ASSERT_EQ(put_leased("b2", 2, "remove"), "");
  ASSERT_EQ(put("b3", 3), "");
  settle();
  tick(1s);
  std::string reason;
  EXPECT_EQ(health_of("b1", &reason), Health::Unhealthy);
  EXPECT_EQ(reason, "lease expired");
  EXPECT_EQ(manager_->view()->find("web")->backends.count("b2"), 0u);
  EXPECT_THAT(eligible(), ElementsAre("b3"));
  EXPECT_EQ(put_leased("b4", 4, "mark"), "LEASE_NOT_FOUND");
  EXPECT_TRUE(keep_alive("mark"));
  EXPECT_THAT(eligible(), ElementsAre("b1", "b3"));
  // Revoked it is gone, and marks nobody any more.
  ASSERT_EQ(revoke("mark"), "");
  EXPECT_EQ(health_of("b1"), Health::Unhealthy);
  EXPECT_FALSE(keep_alive("mark"));
  EXPECT_EQ(revoke("mark"), "LEASE_NOT_FOUND");
}

TEST_P(LeaseTest, GrantingAgainKeepsAliveAndOtherFieldsAreRefused) {
  start_leased(1);
  now_ += 900ms;
  EXPECT_EQ(grant("l1"), "");
  tick(900ms);
  EXPECT_THAT(eligible(), ElementsAre("b1"));
  EXPECT_EQ(grant("l1", 2'000), "LEASE_EXISTS");
  EXPECT_EQ(grant("short", 1), "INVALID_FIELDS");
}

TEST_P(LeaseTest, AMassExpiryFreezesUntilKeepAlivesComeBack) {
  start_leased(4);
  tick(1s);
  EXPECT_THAT(eligible(), ElementsAre("b1", "b2", "b3", "b4"));
  EXPECT_TRUE(frozen());
  tick(1h);
  EXPECT_THAT(eligible(), ElementsAre("b1", "b2", "b3", "b4"));
  for (const char* lease : {"l1", "l2"}) EXPECT_TRUE(keep_alive(lease));
  tick();
  EXPECT_FALSE(frozen()) << "half of them is not more than half";
  EXPECT_THAT(eligible(), ElementsAre("b1", "b2"));
}

TEST_P(LeaseTest, AMassExpirySpreadOverSecondsFreezesToo) {
  start_leased(6);
  const auto all_but = [this](int n_dead) {
    for (int i = n_dead + 1; i <= 6; ++i) keep_alive("l" + std::to_string(i));
  };
  for (int n_dead = 1; n_dead <= 6; ++n_dead) {
    all_but(n_dead);
    tick(900ms);
  }
  EXPECT_TRUE(frozen());
  EXPECT_THAT(eligible(), SizeIs(3));
}

TEST_P(LeaseTest, TheDeathOfTwoIsNoMass) {
  start_leased(2);
  tick(1s);
  EXPECT_FALSE(frozen());
  EXPECT_THAT(eligible(), IsEmpty());
}

TEST_P(LeaseTest, AnOperatorMayReleaseAFreeze) {
  start_leased(3);
  tick(1s);
  ASSERT_TRUE(frozen());
  std::size_t n_released = 0;
  manager_->release_freeze("web", [&](std::size_t n) { n_released = n; });
  settle();
  EXPECT_EQ(n_released, 3u);
  tick();
  EXPECT_FALSE(frozen());
  EXPECT_THAT(eligible(), IsEmpty());
  manager_->release_freeze("web", [&](std::size_t n) { n_released = n; });
  settle();
  EXPECT_EQ(n_released, 0u);
}

TEST_P(LeaseTest, AStepOfTheWallClockEndsNoLease) {
  start_leased(1);
  wall_offset_ += 24h;
  tick();
  EXPECT_THAT(eligible(), ElementsAre("b1"));
}

TEST_P(LeaseTest, WhatIsTakenBackTakesNoKeepAliveWithIt) {
  start_leased(1);
  dataplane_.before_publish = [](const auto&) { throw std::bad_alloc(); };
  now_ += 900ms;
  EXPECT_EQ(revoke("l1"), "OUT_OF_MEMORY");
  EXPECT_TRUE(keep_alive("l1"));
  EXPECT_EQ(grant("l2"), "OUT_OF_MEMORY");
  EXPECT_FALSE(keep_alive("l2"));
  dataplane_.before_publish = nullptr;
  tick(900ms);
  EXPECT_THAT(eligible(), ElementsAre("b1"));
}

TEST_P(LeaseTest, TheDurableStateComesBack) {
  start_leased(1);
  ASSERT_EQ(put("b2", 2), "");
  ASSERT_EQ(put("b3", 3), "");
  ASSERT_EQ(put("b4", 4), "");
  DrainOptions options;
  options.timeout = 60s;
  ASSERT_EQ(deregister({"b2"}, options), "");
  ASSERT_EQ(put("b4", 5), "");  // b4~1 drains
  ASSERT_EQ(run(submit([](auto& state, auto* effect) {
              return state.set_maintenance("web", {"b3"}, true, {}, effect);
            })),
            "");
  const auto stored = records();
  EXPECT_EQ(stored.size(), 1u + 5u + 1u);
  EXPECT_TRUE(stored.contains("service/web"));
  EXPECT_TRUE(stored.contains("service/web/backend/b4~1"));
  EXPECT_TRUE(stored.contains("lease/l1"));

  // Another life, 20 s later.
  now_ += 20s;
  LoadTable loads({}, [](std::uint32_t) { return 0; });
  DesiredState next(dataplane_, loads,
                    {[this] { return now_; },
                     [this] { return WallTime(now_.time_since_epoch()) + wall_offset_; }});
  const auto restored = next.restore(stored, 30s);
  EXPECT_THAT(restored.problems, IsEmpty());
  EXPECT_GT(restored.revision, manager_->view()->revision);
  next.mark(restored.revision);
  EXPECT_EQ(next.durable_records().size(), stored.size());
  const auto& web = *next.services().at("web");
  EXPECT_EQ(web.definition, manager_->view()->find("web")->definition);
  for (const auto& [id, backend] : manager_->view()->find("web")->backends) {
    const auto& is = web.backends.at(id);
    EXPECT_EQ(is.definition, backend.definition) << id;
    EXPECT_EQ(is.version, backend.version) << id;
    EXPECT_EQ(is.administration.state, backend.administration.state) << id;
    EXPECT_EQ(is.administration.reason, backend.administration.reason) << id;
    EXPECT_EQ(is.administration.since, backend.administration.since) << id;
  }
  EXPECT_EQ(web.backends.at("b2").administration.until.steady, now_ + 40s);
  // The lease has had no chance to be kept alive meanwhile.
  EXPECT_EQ(next.leases().at("l1").until.steady, now_ + 30s);
}

TEST_P(LeaseTest, TheFileWinsOverWhatWasStoredOfIt) {
  v1::Config config;
  *config.add_services() = service("web");
  add(config.mutable_services(0), "b1", 1);
  add(config.mutable_services(0), "b2", 2);
  start(config);
  ASSERT_EQ(run(submit([](auto& state, auto* effect) {
              return state.set_maintenance("web", {"b1"}, true, {}, effect);
            })),
            "");
  ASSERT_EQ(deregister({"b2"}), "");
  ASSERT_EQ(put("b3", 3), "");
  const auto stored = records();

  LoadTable loads({}, [](std::uint32_t) { return 0; });
  DesiredState next(dataplane_, loads, {});
  ChangeEffect effect;
  ASSERT_FALSE(next.create_service(config.services(0), Owner::Config, &effect));
  auto damaged = stored;
  damaged["service/other"] = "no protobuf at all";
  damaged["lease/x"] = "\xff";
  const auto restored = next.restore(damaged, 30s);
  EXPECT_THAT(restored.problems, SizeIs(2));
  const auto& backends = next.services().at("web")->backends;
  EXPECT_THAT(backends, SizeIs(3));
  EXPECT_EQ(backends.at("b1").administration.state, Admin::Maintenance);
  EXPECT_EQ(backends.at("b2").administration.state, Admin::InService) << "the file has it back";
  EXPECT_EQ(backends.at("b3").definition.owner, Owner::Api);
}

TEST_P(LeaseTest, WhatHasChangedSinceTheMarkIsTold) {
  LoadTable loads({}, [](std::uint32_t) { return 0; });
  DesiredState state(dataplane_, loads, {});
  ChangeEffect effect;
  auto web = service("web");
  add(&web, "b1", 1);
  add(&web, "b2", 2);
  ASSERT_FALSE(state.create_service(web, Owner::Api, &effect));
  EXPECT_EQ(state.durable_changes().size(), 3u);
  state.mark(2);
  EXPECT_TRUE(state.durable_changes().empty());
  DrainOptions force;
  force.force = true;
  ASSERT_FALSE(state.deregister_backends("web", {"b1"}, force, &effect));
  const auto changes = state.durable_changes();
  EXPECT_EQ(changes.size(), 2u) << "the backend, and the service's revision of them";
  EXPECT_FALSE(changes.at("service/web/backend/b1").has_value());
  state.rollback();
  EXPECT_TRUE(state.durable_changes().empty());
}

}  // namespace
}  // namespace crab
