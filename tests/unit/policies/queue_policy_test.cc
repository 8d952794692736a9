// SPDX-License-Identifier: Apache-2.0
// How keys follow the reports: the formulae of POLICIES.md, one at a time, against a host that says
// what the test wants.
#include "policies/queue_policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace crab {
namespace {

constexpr std::uint64_t kMs = 1'000'000;

class Fleet {
 public:
  explicit Fleet(std::size_t n, const QueuePolicy::Parameters& parameters = {.max_share = 0},
                 std::uint64_t n_claimed = 0, std::uint32_t clock = 0)
      : loads(n),
        policy({.struct_size = sizeof(crab_policy_host),
                .zero = 0,
                .context = this,
                .load =
                    [](void* self, std::uint32_t slot, crab_policy_load* load) {
                      *load = static_cast<Fleet*>(self)->loads[slot];
                    }},
               parameters, n_claimed, clock) {
    weights.assign(n, 1);
  }

  // The backends of these slots are eligible from now on.
  void publish(std::vector<std::uint32_t> slots) {
    std::vector<crab_policy_backend> backends;
    for (const auto slot : slots) backends.push_back({"b", slot, weights[slot]});
    auto next = policy.rebuild(backends);
    if (set) policy.forget(*set);
    set = std::move(next);
    slot_of = std::move(slots);
    update_all();
  }
  void publish_all() {
    std::vector<std::uint32_t> slots(loads.size());
    std::iota(slots.begin(), slots.end(), 0);
    publish(slots);
  }
  void update_all() {
    std::vector<std::uint32_t> indices(slot_of.size());
    std::iota(indices.begin(), indices.end(), 0);
    policy.update(*set, indices, now_ns += 50 * kMs);
  }
  void report(std::uint32_t slot, std::uint32_t open, std::uint32_t source) {
    crab_policy_load& load = loads[slot];
    ++load.n_reports;
    load.open = open;
    load.source = source;
    load.unconfirmed = 0;
    const auto at = std::find(slot_of.begin(), slot_of.end(), slot);
    const auto index = static_cast<std::uint32_t>(at - slot_of.begin());
    if (at != slot_of.end()) policy.update(*set, {&index, 1}, now_ns);
  }
  // Returns slots; the datapath's counting included.
  std::vector<std::uint32_t> pick(std::size_t n) {
    std::vector<std::uint32_t> slots;
    for (std::size_t k = 0; k < n; ++k) {
      const crab_policy_flow flow{random += 0x9e3779b97f4a7c15, 0};
      std::uint32_t index = 0;
      policy.pick(*set, {&flow, 1}, {&index, 1});
      const std::uint32_t slot = slot_of.at(index);
      ++loads[slot].assigned;
      ++loads[slot].unconfirmed;
      slots.push_back(slot);
    }
    return slots;
  }
  std::size_t share(std::size_t n, std::uint32_t slot) {
    const auto slots = pick(n);
    return static_cast<std::size_t>(std::count(slots.begin(), slots.end(), slot));
  }

  std::vector<crab_policy_load> loads;
  std::vector<std::uint32_t> weights;
  QueuePolicy policy;
  std::unique_ptr<QueueSet> set;
  std::vector<std::uint32_t> slot_of;
  std::uint64_t now_ns = 0;
  std::uint64_t random = 1;
};

// Every rule also with counters that wrap in the middle of the test.
class QueuePolicyTest : public ::testing::TestWithParam<bool> {
 protected:
  Fleet fleet(std::size_t n, const QueuePolicy::Parameters& parameters = {.max_share = 0}) {
    return GetParam() ? Fleet(n, parameters, 0xfffffff0, 0U - 3 * QueueKeys::kOne)
                      : Fleet(n, parameters);
  }
};
INSTANTIATE_TEST_SUITE_P(Start, QueuePolicyTest, ::testing::Bool(), [](const auto& instance) {
  return std::string(instance.param ? "BelowTheWrap" : "AtZero");
});

TEST_P(QueuePolicyTest, WithoutReportsItIsRoundRobin) {
  auto f = fleet(5);
  f.publish_all();
  for (int round = 0; round < 20; ++round) {
    auto slots = f.pick(5);
    f.update_all();
    std::sort(slots.begin(), slots.end());
    EXPECT_EQ(slots, (std::vector<std::uint32_t>{0, 1, 2, 3, 4})) << round;
  }
  EXPECT_EQ(f.policy.rule(*f.set), "least loaded, by assignments, LRU ties");
}

TEST_P(QueuePolicyTest, EventsFillTheShortestQueueUpToTheOthers) {
  auto f = fleet(3);
  f.publish_all();
  f.report(0, 7, CRAB_LOAD_EVENT);
  f.report(1, 5, CRAB_LOAD_EVENT);
  f.report(2, 0, CRAB_LOAD_EVENT);
  EXPECT_EQ(f.pick(5), std::vector<std::uint32_t>(5, 2));
  EXPECT_EQ(f.share(2, 0), 0U);  // now 7, 6, 6 with what is unconfirmed
  EXPECT_EQ(f.policy.rule(*f.set), "least loaded, fresh reports, LRU ties");
}

// Silence means unchanged: however much is assigned elsewhere, a long queue stays long.
TEST_P(QueuePolicyTest, EventsDoNotDrain) {
  auto f = fleet(2);
  f.publish_all();
  f.report(0, 100, CRAB_LOAD_EVENT);
  f.report(1, 0, CRAB_LOAD_EVENT);
  for (int k = 0; k < 1000; ++k) {
    EXPECT_EQ(f.pick(1).front(), 1U) << k;
    f.report(1, 0, CRAB_LOAD_EVENT);  // done at once
    f.update_all();
  }
}

// Between rare reports a backend drains by 1/n with each connection: V_i of POLICIES.md.
TEST_P(QueuePolicyTest, RareReportsDrainInBetween) {
  auto f = fleet(2);
  f.publish_all();
  f.report(0, 10, CRAB_LOAD_PERIODIC);
  f.report(1, 0, CRAB_LOAD_PERIODIC);
  std::size_t n = 0;
  while (f.pick(1).front() == 1) {
    f.report(1, 0, CRAB_LOAD_PERIODIC);
    ASSERT_LT(++n, 100U);
  }
  // Backend 0 needs to drain by 10, which takes 20 connections.
  EXPECT_GE(n, 19U);
  EXPECT_LE(n, 22U);
  EXPECT_EQ(f.policy.rule(*f.set), "least loaded, drain clock, LRU ties");
}

// Reports that come more often than connections are as good as events, until they get rare.
TEST_P(QueuePolicyTest, FrequentReportsDoNotDrain) {
  auto f = fleet(2);
  f.publish_all();
  const auto round = [&f](std::size_t n_picks) {
    f.pick(n_picks);
    f.report(0, 1, CRAB_LOAD_PERIODIC);
    f.report(1, 0, CRAB_LOAD_PERIODIC);
  };
  for (int k = 0; k < 100; ++k) round(1);
  EXPECT_EQ(f.policy.rule(*f.set), "least loaded, fresh reports, LRU ties");
  EXPECT_EQ(f.pick(1).front(), 1U);
  for (int k = 0; k < 100; ++k) round(4);
  EXPECT_EQ(f.policy.rule(*f.set), "least loaded, drain clock, LRU ties");
}

TEST_P(QueuePolicyTest, OneWithoutReportsKeepsItsShareAmongThoseThatReport) {
  auto f = fleet(4);
  f.publish_all();
  std::size_t n_silent = 0;
  for (int k = 0; k < 4000; ++k) {
    for (std::uint32_t slot = 0; slot < 3; ++slot) f.report(slot, 2, CRAB_LOAD_EVENT);
    n_silent += f.share(1, 3);
    f.now_ns += kMs;
  }
  EXPECT_NEAR(static_cast<double>(n_silent), 1000, 15);
}

TEST_P(QueuePolicyTest, RebuildsKeepWhatIsKnown) {
  auto f = fleet(4);
  f.publish({0, 1, 2});
  f.report(0, 9, CRAB_LOAD_EVENT);
  f.report(1, 9, CRAB_LOAD_EVENT);
  f.report(2, 0, CRAB_LOAD_EVENT);
  f.publish({2, 1});
  EXPECT_EQ(f.share(9, 2), 9U);
  // What was picked between rebuild and publication counts too.
  const crab_policy_backend backends[] = {{"b", 1, 1}, {"b", 2, 1}};
  auto next = f.policy.rebuild(backends);
  EXPECT_EQ(f.share(4, 2), 2U);
  f.policy.forget(*f.set);
  f.set = std::move(next);
  f.slot_of = {1, 2};
  f.update_all();
  EXPECT_EQ(f.share(8, 2), 4U);
}

// Without reports nobody's queue is known: a newcomer gets its share and no more.
TEST_P(QueuePolicyTest, ANewcomerAmongThoseWithoutReportsIsNotFlooded) {
  auto f = fleet(4);
  f.publish({0, 1, 2});
  f.pick(3000);
  f.publish({0, 1, 2, 3});
  EXPECT_NEAR(static_cast<double>(f.share(400, 3)), 100, 2);
}

TEST_P(QueuePolicyTest, WeightsCountAndMayChange) {
  auto f = fleet(2);
  f.weights = {1, 3};
  f.publish_all();
  EXPECT_NEAR(static_cast<double>(f.share(4000, 1)), 3000, 5);
  f.weights = {3, 1};
  f.publish_all();
  EXPECT_NEAR(static_cast<double>(f.share(4000, 1)), 1000, 5);
}

TEST_P(QueuePolicyTest, TheCapKeepsANewcomerFromBeingFlooded) {
  auto f = fleet(10, {.max_share = 2, .share_window = 10});
  f.publish_all();
  for (std::uint32_t slot = 0; slot < 9; ++slot) f.report(slot, 1000, CRAB_LOAD_EVENT);
  f.report(9, 0, CRAB_LOAD_EVENT);
  EXPECT_EQ(f.share(1000, 9), 200U);
}

// Four nodes with old reports herd if each looks at all the backends; the policy sees it in the two
// counts of accepted connections.
TEST_P(QueuePolicyTest, SeveralNodesWithOldReportsLookAtFour) {
  auto f = fleet(8);
  f.publish_all();
  for (int round = 0; round < 100; ++round) {
    for (std::uint32_t slot = 0; slot < 8; ++slot) {
      f.loads[slot].accepted_own += 1;
      f.loads[slot].accepted_total += 4;
      f.report(slot, 3, CRAB_LOAD_PERIODIC);
    }
  }
  EXPECT_EQ(f.policy.rule(*f.set), "least of 4, fresh reports, random ties, several nodes");
  EXPECT_EQ(f.set->keys.scale(), 4U << QueueKeys::kScaleBits);
  // And alone again.
  for (int round = 0; round < 100; ++round) {
    for (std::uint32_t slot = 0; slot < 8; ++slot) {
      f.loads[slot].accepted_own += 1;
      f.loads[slot].accepted_total += 1;
      f.report(slot, 3, CRAB_LOAD_PERIODIC);
    }
  }
  EXPECT_EQ(f.policy.rule(*f.set), "least loaded, fresh reports, LRU ties");
}

TEST_P(QueuePolicyTest, SeveralNodesThatReportEachAcceptLookAtAll) {
  auto f = fleet(8);
  f.publish_all();
  for (int round = 0; round < 400; ++round) {
    for (std::uint32_t slot = 0; slot < 8; ++slot) {
      f.loads[slot].accepted_own += round % 4 == 0 ? 1 : 0;
      f.loads[slot].accepted_total += 1;
      f.report(slot, 3, CRAB_LOAD_EVENT);
    }
  }
  EXPECT_EQ(f.policy.rule(*f.set), "least loaded, fresh reports, random ties");
}

TEST_P(QueuePolicyTest, ChoicesAreDistinctAndTheLessLoadedWins) {
  auto f = fleet(3, {.max_share = 0, .share_window = 10, .n_choices = 2});
  f.publish_all();
  f.report(0, 1'000'000, CRAB_LOAD_EVENT);
  f.report(1, 0, CRAB_LOAD_EVENT);
  f.report(2, 0, CRAB_LOAD_EVENT);
  // Two distinct ones out of three always have another one than backend 0.
  EXPECT_EQ(f.share(2000, 0), 0U);
  EXPECT_EQ(f.policy.rule(*f.set), "least of 2, fresh reports, LRU ties");
}

TEST_P(QueuePolicyTest, ExplainAgreesWithPickAndChangesNothing) {
  for (const unsigned n_choices : {0U, 2U}) {
    auto f = fleet(6, {.max_share = 2, .share_window = 10, .n_choices = n_choices});
    f.publish_all();
    for (std::uint32_t slot = 0; slot < 6; ++slot) f.report(slot, slot * 2, CRAB_LOAD_EVENT);
    for (std::uint64_t k = 0; k < 50; ++k) {
      const crab_policy_flow flow{f.random + 0x9e3779b97f4a7c15, 0};
      std::string why;
      const auto explained = f.policy.explain(*f.set, flow, why);
      EXPECT_EQ(f.policy.explain(*f.set, flow, why), explained);
      EXPECT_FALSE(why.empty());
      EXPECT_EQ(f.pick(1).front(), explained);
    }
  }
}

}  // namespace
}  // namespace crab
