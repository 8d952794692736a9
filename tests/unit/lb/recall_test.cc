// SPDX-License-Identifier: Apache-2.0
// The recent-SYN table under pressure; what it does for a single SYN is in tests/packet.
#include "lb/recall.h"

#include <gtest/gtest.h>

#include "tests/packet/eal_environment.h"
#include "tests/packet/world.h"

namespace crab {
namespace {

using test::Bytes;
using test::World;

Bytes syn(std::uint32_t n) {
  test::Frame frame;
  frame.sequence = n;
  frame.options = test::offer(RedirectForm::Address);
  return frame.bytes();
}

std::uint64_t n_recalled(World& world, std::uint32_t first, std::uint32_t last) {
  std::uint64_t n = 0;
  for (std::uint32_t i = first; i < last; ++i) n += world.send(syn(i)).delta.n_recalled;
  return n;
}

// The table's key is random, so bounds lie far out: with 512 of 1024 entries, 4 of 512 find their
// bucket of 8 full on the average, and never yet 40.
TEST(RecentSyns, RemembersNearlyAllAtHalfItsSize) {
  World world;
  for (std::uint32_t i = 0; i < 512; ++i) world.send(syn(i));
  EXPECT_LE(world.counters().read().n_recall_evicted, 40U);
  // One that was forgotten pushes out another when it comes again, so that more are missed here.
  EXPECT_GE(n_recalled(world, 0, 512), 384U);
}

TEST(RecentSyns, ForgetsTheOldestAndCountsThoseForgottenTooSoon) {
  World world;
  for (std::uint32_t i = 0; i < 20'000; ++i) world.send(syn(i));
  const auto evicted = world.counters().read().n_recall_evicted;
  EXPECT_GE(evicted, 20'000U - 1024U);
  EXPECT_LT(evicted, 20'000U);
  EXPECT_EQ(n_recalled(world, 0, 1000), 0U);
  // The newest are there; read first what was written last, since reading the forgotten evicts.
  World fresh;
  for (std::uint32_t i = 0; i < 20'000; ++i) fresh.send(syn(i));
  EXPECT_EQ(n_recalled(fresh, 19'900, 20'000), 100U);
}

TEST(RecentSyns, EvictionAfterThePromisedTimeIsNotCounted) {
  World world;
  for (std::uint32_t i = 0; i < 1000; ++i) world.send(syn(i));
  const auto before = world.counters().read().n_recall_evicted;
  world.advance(RecentSyns::kPromisedSeconds + 1);
  // Few enough that no bucket gets more of them than it holds: they would push out each other.
  for (std::uint32_t i = 1000; i < 1064; ++i) world.send(syn(i));
  EXPECT_EQ(world.counters().read().n_recall_evicted, before);
}

TEST(RecentSyns, SurvivesTheClockOfItsTicksWrapping) {
  World world;
  for (int i = 0; i < 100; ++i) {
    world.advance(97.3);  // ticks wrap after some 34 minutes
    const auto n = static_cast<std::uint32_t>(i);
    EXPECT_EQ(world.send(syn(n)).delta.n_recalled, 0U);
    world.advance(2.0);
    EXPECT_EQ(world.send(syn(n)).delta.n_recalled, 1U);
  }
}

TEST(RecentSyns, SizesAtTheLimits) {
  EXPECT_NO_THROW(RecentSyns(0, test::kTscHz));
  EXPECT_NO_THROW(RecentSyns(1, test::kTscHz));
  EXPECT_NO_THROW(RecentSyns(1'000'001, 1'000'000));
}

}  // namespace
}  // namespace crab
