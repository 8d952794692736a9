// SPDX-License-Identifier: Apache-2.0
// What is known of a backend's load, against a model of a backend that knows the truth.
#include "lb/load_table.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>

namespace crab {
namespace {

using namespace std::chrono_literals;
constexpr std::uint32_t kSlot = 5;

class LoadTableTest : public ::testing::Test {
 protected:
  LoadSample sample(std::uint32_t open, std::uint64_t own, std::uint64_t total,
                    std::uint64_t boot = 1) const {
    return {.open = open,
            .counts = LoadSample::Counts{own, total, total - open},
            .boot_id = boot,
            .event = true,
            .interval = 10ms};
  }
  void report(const LoadSample& sample) { table_.report(kSlot, sample, now_); }
  std::uint32_t unconfirmed() const { return table_.load(kSlot).unconfirmed; }

  std::uint64_t n_assigned_ = 0;
  LoadTable::Time now_ = 1s;
  LoadTable table_{{}, [this](std::uint32_t slot) { return slot == kSlot ? n_assigned_ : 0; }};
};

TEST_F(LoadTableTest, WithoutReportsAssignmentsAreAllThatIsKnown) {
  n_assigned_ = 3;
  const auto load = table_.load(kSlot);
  EXPECT_EQ(load.source, CRAB_LOAD_ASSIGNED);
  EXPECT_EQ(load.assigned, 3u);
  EXPECT_EQ(load.unconfirmed, 3u);
  EXPECT_EQ(load.n_reports, 0u);
  EXPECT_FALSE(table_.reports(kSlot));
  EXPECT_FALSE(table_.is_silent(kSlot, now_ + 1h));
  EXPECT_FALSE(table_.report_age(kSlot, now_));
}

TEST_F(LoadTableTest, AnotherBackendInTheSlotStartsFromZero) {
  n_assigned_ = 3;
  report(sample(7, 100, 200));
  table_.reset(kSlot);
  EXPECT_EQ(table_.load(kSlot).unconfirmed, 0u);
  EXPECT_EQ(table_.load(kSlot).open, 0u);
  EXPECT_EQ(table_.load(kSlot).n_reports, 0u);
  ++n_assigned_;
  EXPECT_EQ(table_.load(kSlot).unconfirmed, 1u);
}

TEST_F(LoadTableTest, AnAssignmentIsUnconfirmedUntilItIsAccepted) {
  report(sample(4, 100, 150));
  EXPECT_EQ(unconfirmed(), 0u);
  n_assigned_ += 3;
  EXPECT_EQ(unconfirmed(), 3u);
  now_ += 1ms;
  report(sample(6, 102, 152));
  EXPECT_EQ(unconfirmed(), 1u);
  EXPECT_EQ(table_.load(kSlot).open, 6u);
  EXPECT_EQ(table_.load(kSlot).accepted_own, 102u);
  EXPECT_EQ(table_.load(kSlot).accepted_total, 152u);
  EXPECT_EQ(table_.closed_total(kSlot), 146u);
  EXPECT_EQ(table_.load(kSlot).n_reports, 2u);
  EXPECT_EQ(table_.load(kSlot).source, CRAB_LOAD_EVENT);
}

TEST_F(LoadTableTest, ConnectionsFromElsewhereConfirmNothing) {
  report(sample(0, 0, 0));
  n_assigned_ += 2;
  now_ += 1ms;
  report(sample(9, 0, 9));
  EXPECT_EQ(unconfirmed(), 2u);
}

TEST_F(LoadTableTest, WhatIsNeverAcceptedExpires) {
  report(sample(0, 0, 0));
  n_assigned_ += 5;  // lost, all of them
  for (int i = 0; i < 3; ++i) {
    now_ += 10ms;
    report(sample(0, 0, 0));
    EXPECT_EQ(unconfirmed(), 5u) << "within the expiry and two intervals";
  }
  for (int i = 0; i < 6; ++i) {
    now_ += 10ms;
    report(sample(0, 0, 0));
  }
  EXPECT_EQ(unconfirmed(), 0u);
  EXPECT_EQ(table_.n_written_off(kSlot), 5u);
}

TEST_F(LoadTableTest, WhatIsAcceptedAfterAllDoesNotConfirmOthers) {
  report(sample(0, 0, 0));
  n_assigned_ += 2;
  for (int i = 0; i < 10; ++i) {
    now_ += 10ms;
    report(sample(0, 0, 0));
  }
  ASSERT_EQ(table_.n_written_off(kSlot), 2u);
  now_ += 1s;  // their SYNs, sent again
  report(sample(2, 2, 2));
  EXPECT_EQ(unconfirmed(), 0u);
  EXPECT_EQ(table_.n_late(kSlot), 2u);
  n_assigned_ += 3;
  EXPECT_EQ(unconfirmed(), 3u);
}

TEST_F(LoadTableTest, AnotherBootRebasesAndKeepsWhatIsOnItsWay) {
  report(sample(4, 1000, 1000));
  n_assigned_ += 3;
  now_ += 1ms;
  report(sample(4, 0, 4, 2));
  EXPECT_EQ(unconfirmed(), 3u);
  now_ += 1ms;
  report(sample(7, 3, 7, 2));
  EXPECT_EQ(unconfirmed(), 0u);
}

TEST_F(LoadTableTest, CountsMayWrap) {
  report(sample(0, ~0ULL - 1, ~0ULL - 1));
  n_assigned_ += 4;
  now_ += 1ms;
  report(sample(4, 2, 2));
  EXPECT_EQ(unconfirmed(), 0u);
}

TEST_F(LoadTableTest, SilenceIsThreeIntervalsAndAtLeastTheLeast) {
  report(sample(0, 0, 0));
  EXPECT_FALSE(table_.is_silent(kSlot, now_ + 200ms));
  EXPECT_TRUE(table_.is_silent(kSlot, now_ + 201ms));
  auto rare = sample(0, 0, 0);
  rare.interval = 1s;
  report(rare);
  EXPECT_FALSE(table_.is_silent(kSlot, now_ + 3s));
  EXPECT_TRUE(table_.is_silent(kSlot, now_ + 3001ms));
  EXPECT_EQ(table_.report_age(kSlot, now_ + 5s), 5s);
}

TEST_F(LoadTableTest, ForgottenReportsLeaveAssignmentsAlone) {
  report(sample(9, 5, 5));
  n_assigned_ += 2;
  table_.forget_reports(kSlot);
  EXPECT_FALSE(table_.reports(kSlot));
  EXPECT_FALSE(table_.is_silent(kSlot, now_ + 1h));
  EXPECT_EQ(table_.load(kSlot).open, 0u);
  EXPECT_EQ(unconfirmed(), 0u);
  ++n_assigned_;
  EXPECT_EQ(unconfirmed(), 1u);
  report(sample(9, 8, 8));
  EXPECT_TRUE(table_.reports(kSlot));
  EXPECT_EQ(table_.load(kSlot).open, 9u);
}

TEST_F(LoadTableTest, ASourceThatDoesNotCountConfirmsAllThatCameBefore) {
  n_assigned_ = 5;
  LoadSample utilisation{.open = 70, .counts = std::nullopt, .interval = 100ms};
  report(utilisation);
  EXPECT_EQ(unconfirmed(), 0u);
  n_assigned_ += 2;
  EXPECT_EQ(unconfirmed(), 2u);
  report(utilisation);
  EXPECT_EQ(unconfirmed(), 0u);
  EXPECT_EQ(table_.load(kSlot).source, CRAB_LOAD_PERIODIC);
}

TEST_F(LoadTableTest, PoliciesReadTheSame) {
  report(sample(4, 0, 0));
  crab_policy_load load{};
  const auto& host = table_.host();
  host.load(host.context, kSlot, &load);
  EXPECT_EQ(load.open, 4u);
}

// SYNs are lost, accepted late or never, connections end, reports are lost and the agent starts
// again: with the noise gone, the table says what is true, after any history.
TEST_F(LoadTableTest, EstimatesComeRightAgainAfterAnything) {
  for (unsigned seed = 1; seed <= 50; ++seed) {
    std::mt19937 random(seed);
    const auto chance = [&](double p) { return std::bernoulli_distribution(p)(random); };
    table_.reset(kSlot);
    std::uint64_t own = 0;
    std::uint64_t total = 0;
    std::uint64_t boot = 1;
    std::uint32_t open = 0;
    std::deque<LoadTable::Time> on_their_way;
    for (int step = 0; step < 3000; ++step) {
      now_ += 1ms;
      const bool noisy = step < 2000;
      if (noisy && chance(0.5)) {
        ++n_assigned_;
        if (!chance(0.05)) on_their_way.push_back(now_ + (chance(0.02) ? 1s : 1ms));
      }
      std::erase_if(on_their_way, [&](auto due) {
        if (due > now_) return false;
        ++own, ++total, ++open;
        return true;
      });
      if (noisy && chance(0.2)) ++total, ++open;  // by another node
      if (open > 0 && chance(noisy ? 0.6 : 0.01)) --open;
      if (noisy && chance(0.001)) own = 0, total = open, ++boot;
      if (step % 10 == 0 && !(noisy && chance(0.3))) report(sample(open, own, total, boot));
    }
    EXPECT_EQ(unconfirmed(), 0u) << "seed " << seed;
    const auto reported = sample(open, own, total, boot);
    report(reported);
    EXPECT_EQ(table_.load(kSlot).open, open) << "seed " << seed;
    n_assigned_ += 2;
    EXPECT_EQ(unconfirmed(), 2u) << "seed " << seed;
  }
}

}  // namespace
}  // namespace crab
