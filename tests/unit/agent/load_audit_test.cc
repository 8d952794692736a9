// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/load_audit.h"

#include <gtest/gtest.h>

namespace crab {
namespace {

LoadCounts counts(std::uint64_t accepted, std::uint64_t closed) {
  return {.accepted = accepted, .closed = closed};
}

TEST(LoadAudit, WhileNothingMovesEveryDifferenceIsAnError) {
  EXPECT_EQ(discrepancy(counts(9, 4), counts(9, 4), 5), 0);
  EXPECT_EQ(discrepancy(counts(9, 4), counts(9, 4), 7), 2);
  EXPECT_EQ(discrepancy(counts(9, 4), counts(9, 4), 2), -3);
  EXPECT_EQ(discrepancy(counts(0, 0), counts(0, 0), 12), 12) << "there before counting began";
}

TEST(LoadAudit, WhatCameAndWentMeanwhileMayOrMayNotHaveBeenSeen) {
  // 5 open before; meanwhile 3 came and 2 went.
  for (const std::uint64_t seen : {3U, 4U, 5U, 6U, 7U, 8U}) {
    EXPECT_EQ(discrepancy(counts(9, 4), counts(12, 6), seen), 0) << seen;
  }
  EXPECT_EQ(discrepancy(counts(9, 4), counts(12, 6), 9), 1);
  EXPECT_EQ(discrepancy(counts(9, 4), counts(12, 6), 2), -1);
}

TEST(LoadAudit, CountsThatFellBelowZeroComeRight) {
  // An accept was missed and its close was not.
  EXPECT_EQ(discrepancy(counts(3, 4), counts(3, 4), 0), 1);
}

TEST(LoadCounts, LingeringConnectionsAreOpen) {
  EXPECT_EQ((LoadCounts{.accepted = 9, .closed = 4, .lingering = 2}).open(), 7U);
}

}  // namespace
}  // namespace crab
