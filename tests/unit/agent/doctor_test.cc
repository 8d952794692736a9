// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace crab {
namespace {

using testing::HasSubstr;

TEST(Doctor, CountersAtZeroSayNothing) { EXPECT_TRUE(judge_counters(Counters{}).empty()); }

TEST(Doctor, ASuspiciousCounterComesWithARemedy) {
  Counters counters{};
  counters[CRAB_COUNT_redirected] = 100;
  counters[CRAB_COUNT_missing_echo] = 7;
  const std::vector<Finding> findings = judge_counters(counters);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_FALSE(findings[0].ok);
  EXPECT_THAT(findings_text(findings), HasSubstr("FAIL  7 missing_echo: "));
  EXPECT_THAT(findings_text(findings), HasSubstr("server role on every backend"));
}

TEST(Doctor, AFindingIsOneLine) {
  EXPECT_EQ(findings_text({{true, "root", ""}, {false, "no route", "add one"}}),
            "ok    root\nFAIL  no route; add one\n");
}

}  // namespace
}  // namespace crab
