// SPDX-License-Identifier: Apache-2.0
#include "policies/parameters.h"

#include <gtest/gtest.h>

#include <vector>

namespace crab {
namespace {

enum class Ties : std::uint8_t { Lru, Random };

struct Settings {
  std::uint32_t choices = 2;
  double share = 1.5;
  Ties ties = Ties::Lru;
};

// What create() of a policy with three parameters would answer; empty if it accepts.
std::string read(const std::vector<crab_policy_kv>& kv, Settings* settings) {
  char message[256] = "";
  PolicyParameters given(kv.data(), kv.size(), message, sizeof message);
  given.whole("choices", 2, 16, &settings->choices);
  given.real("share", 1, 10, &settings->share);
  given.one_of("ties", {"lru", "random"}, &settings->ties);
  const int result = given.finish();
  EXPECT_EQ(result != 0, message[0] != '\0');
  return message;
}

TEST(Parameters, LeavesDefaultsAlone) {
  Settings settings;
  EXPECT_EQ(read({}, &settings), "");
  EXPECT_EQ(settings.choices, 2U);
  EXPECT_EQ(settings.share, 1.5);
  EXPECT_EQ(settings.ties, Ties::Lru);
}

TEST(Parameters, TakesWhatIsInRange) {
  Settings settings;
  EXPECT_EQ(read({{"ties", "random"}, {"choices", "16"}, {"share", "2.25"}}, &settings), "");
  EXPECT_EQ(settings.choices, 16U);
  EXPECT_EQ(settings.share, 2.25);
  EXPECT_EQ(settings.ties, Ties::Random);
}

TEST(Parameters, RefusesWithNameValueAndRange) {
  const struct {
    crab_policy_kv given;
    const char* message;
  } kCases[] = {
      {{"choices", "1"}, "parameter 'choices': '1' is not a whole number from 2 to 16"},
      {{"choices", "17"}, "parameter 'choices': '17' is not a whole number from 2 to 16"},
      {{"choices", ""}, "parameter 'choices': '' is not a whole number from 2 to 16"},
      {{"choices", "-3"}, "parameter 'choices': '-3' is not a whole number from 2 to 16"},
      {{"choices", "+3"}, "parameter 'choices': '+3' is not a whole number from 2 to 16"},
      {{"choices", " 3"}, "parameter 'choices': ' 3' is not a whole number from 2 to 16"},
      {{"choices", "3x"}, "parameter 'choices': '3x' is not a whole number from 2 to 16"},
      {{"choices", "18446744073709551618"},
       "parameter 'choices': '18446744073709551618' is not a whole number from 2 to 16"},
      {{"share", "0.5"}, "parameter 'share': '0.5' is not a number from 1 to 10"},
      {{"share", "nan"}, "parameter 'share': 'nan' is not a number from 1 to 10"},
      {{"share", "inf"}, "parameter 'share': 'inf' is not a number from 1 to 10"},
      {{"share", "2 "}, "parameter 'share': '2 ' is not a number from 1 to 10"},
      {{"ties", "LRU"}, "parameter 'ties': 'LRU' is none of lru, random"},
      {{"speed", "11"}, "parameter 'speed' is unknown; this policy has choices, share, ties"},
  };
  for (const auto& test : kCases) {
    Settings settings;
    EXPECT_EQ(read({test.given}, &settings), test.message);
    EXPECT_EQ(settings.choices, 2U);
  }
}

TEST(Parameters, RefusesWhatIsGivenTwice) {
  Settings settings;
  EXPECT_EQ(read({{"choices", "3"}, {"choices", "4"}}, &settings),
            "parameter 'choices' is given twice");
}

TEST(Parameters, ShowsTheFirstError) {
  Settings settings;
  EXPECT_EQ(read({{"speed", "11"}, {"ties", "x"}, {"choices", "x"}}, &settings),
            "parameter 'choices': 'x' is not a whole number from 2 to 16");
}

TEST(Parameters, PolicyWithoutAny) {
  char message[256] = "";
  EXPECT_EQ(policy_refuse_parameters(nullptr, 0, message, sizeof message), 0);
  const crab_policy_kv kv = {"speed", "11"};
  EXPECT_EQ(policy_refuse_parameters(&kv, 1, message, sizeof message), -1);
  EXPECT_STREQ(message, "parameter 'speed' is unknown; this policy has none");
}

}  // namespace
}  // namespace crab
