// SPDX-License-Identifier: Apache-2.0
#include "lb/address.h"

#include <gtest/gtest.h>

namespace crab {
namespace {

TEST(IpAddress, ParsesAndPrints) {
  for (const auto* text : {"10.0.0.1", "255.255.255.255", "fd00::1", "::", "2001:db8::7"}) {
    const auto address = IpAddress::parse(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->to_string(), text);
  }
  EXPECT_EQ(IpAddress::parse("2001:DB8:0:0::7")->to_string(), "2001:db8::7");
}

TEST(IpAddress, RefusesEverythingElse) {
  for (const auto* text : {"", "10.0.0", "10.0.0.1/24", "10.0.0.256", "1", "fd00::1%eth0",
                           "[fd00::1]", "10.0.0.1:80", "host", " 10.0.0.1", "fd00:::1"}) {
    EXPECT_FALSE(IpAddress::parse(text)) << text;
  }
}

TEST(IpAddress, Unusable) {
  for (const auto* text : {"0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255",
                           "240.0.0.1", "::", "::1", "ff02::1"}) {
    EXPECT_TRUE(IpAddress::parse(text)->is_unusable()) << text;
  }
  for (const auto* text : {"1.0.0.1", "126.0.0.1", "128.0.0.1", "223.255.255.255", "::2", "fe80::1",
                           "fd00::", "::1:0:0:1"}) {
    EXPECT_FALSE(IpAddress::parse(text)->is_unusable()) << text;
  }
}

}  // namespace
}  // namespace crab
