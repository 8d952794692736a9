// SPDX-License-Identifier: Apache-2.0
#include "lb/announce.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <string>

namespace crab {
namespace {

constexpr MacAddress kMac{0x02, 0x11, 0x22, 0x33, 0x44, 0x55};

std::string announcement(const char* address) {
  std::string text;
  for (const std::uint8_t byte : make_announcement(*IpAddress::parse(address), kMac)) {
    std::array<char, 3> digits;
    std::snprintf(digits.data(), digits.size(), "%02x", byte);
    text += digits.data();
  }
  return text;
}

TEST(Announcement, Ipv4IsAnArpRequestForItself) {
  EXPECT_EQ(announcement("10.0.0.100"),
            "ffffffffffff"
            "021122334455"
            "0806"
            "0001"
            "0800"
            "0604"
            "0001"
            "021122334455"
            "0a000064"
            "000000000000"
            "0a000064");
}

// The checksum is scapy's: Ether()/IPv6()/ICMPv6ND_NA(R=0, S=0, O=1)/ICMPv6NDOptDstLLAddr().
TEST(Announcement, Ipv6IsAnUnsolicitedAdvertisementToAllNodes) {
  EXPECT_EQ(announcement("fd00::100"),
            "333300000001"
            "021122334455"
            "86dd"
            "60000000"
            "00203aff"
            "fd000000000000000000000000000100"
            "ff020000000000000000000000000001"
            "8800f204"
            "20000000"
            "fd000000000000000000000000000100"
            "0201"
            "021122334455");
}

}  // namespace
}  // namespace crab
