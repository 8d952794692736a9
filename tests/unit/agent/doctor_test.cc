// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace crab {
namespace {

using testing::HasSubstr;

TEST(Doctor, CountersAtZeroSayNothing) {
  EXPECT_TRUE(judge_counters({{"redirected", "", 9}, {"missing_echo", "", 0}}).empty());
}

TEST(Doctor, ASuspiciousCounterComesWithARemedy) {
  const std::vector<Finding> findings =
      judge_counters({{"redirected", "SYN-ACKs", 100}, {"missing_echo", "SYN-ACKs without", 7}});
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].level, Finding::Level::Fail);
  EXPECT_THAT(findings_text(findings), HasSubstr("FAIL  7 missing_echo: "));
  EXPECT_THAT(findings_text(findings), HasSubstr("server role on every backend"));
}

TEST(Doctor, AFindingIsOneLine) {
  using Level = Finding::Level;
  EXPECT_EQ(findings_text({{Level::Ok, "root", ""},
                           {Level::Hint, "conntrack", "look"},
                           {Level::Fail, "no route", "add one"}}),
            "ok    root\nhint  conntrack; look\nFAIL  no route; add one\n");
}

}  // namespace
}  // namespace crab
