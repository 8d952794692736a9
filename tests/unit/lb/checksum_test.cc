// SPDX-License-Identifier: Apache-2.0
#include "lb/checksum.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace crab {
namespace {

std::uint16_t whole(const std::vector<std::uint8_t>& bytes) {
  return static_cast<std::uint16_t>(~fold(sum_bytes(bytes.data(), bytes.size())));
}

// RFC 1071, 3: the example's words 0001 f203 f4f5 f6f7 sum to ddf2.
TEST(Checksum, ExampleOfRfc1071) {
  const std::vector<std::uint8_t> bytes = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  const be16 sum{fold(sum_bytes(bytes.data(), bytes.size()))};
  EXPECT_EQ(to_host(sum), 0xddf2);
}

// RFC 1624, 4: header checksum dd2f, a word changes from 5555 to 3285, and the result is 0000.
TEST(Checksum, ExampleOfRfc1624) {
  const auto word = [](std::uint16_t w) { return static_cast<std::uint16_t>(to_be(w)); };
  EXPECT_EQ(updated(word(0xdd2f), difference(word(0x5555), word(0x3285))), word(0x0000));
}

TEST(Checksum, IncrementalEqualsWhole) {
  std::mt19937 random(7);
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::uint8_t> bytes(2 * (1 + random() % 40));
    // Plenty of 00 and ff, where one's complement has two zeros.
    for (auto& b : bytes)
      b = static_cast<std::uint8_t>(random() % 3 == 0 ? random() : -(random() % 2));
    bytes[0] |= 1;  // a sum of zero has no predecessor that is not all zero
    const std::size_t at = bytes.size() == 2 ? 0 : 2 * (1 + random() % (bytes.size() / 2 - 1));
    auto changed = bytes;
    changed[at] = static_cast<std::uint8_t>(random() | (at == 0));
    changed[at + 1] = static_cast<std::uint8_t>(random());
    const auto delta =
        difference(load<std::uint16_t>(&bytes[at]), load<std::uint16_t>(&changed[at]));
    ASSERT_EQ(updated(whole(bytes), delta), whole(changed));
  }
}

TEST(Checksum, OddLengthIsPaddedWithZero) {
  EXPECT_EQ(whole({1, 2, 3}), whole({1, 2, 3, 0}));
  EXPECT_EQ(whole({1, 2, 3, 4, 5}), whole({1, 2, 3, 4, 5, 0}));
}

}  // namespace
}  // namespace crab
