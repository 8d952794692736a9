// SPDX-License-Identifier: Apache-2.0
// The Internet checksum (RFC 1071) and its incremental update (RFC 1624). Sums are over 16 bit
// words as they are loaded from the packet: the one's complement sum does not depend on byte order
// (RFC 1071, 2(B)), so nothing is ever swapped.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lb/byte_order.h"

namespace crab {

// Folds a sum of 16 bit words, or of 32 bit words of pairs of them, to 16 bits.
constexpr std::uint16_t fold(std::uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

// Not folded; an odd last byte counts as a word padded with zero. At most 256 kB.
inline std::uint64_t sum_bytes(const std::uint8_t* p, std::size_t n) {
  std::uint64_t sum = 0;
  for (; n >= 4; p += 4, n -= 4) sum += load<std::uint32_t>(p);
  if (n >= 2) {
    sum += load<std::uint16_t>(p);
    p += 2;
    n -= 2;
  }
  if (n == 1) sum += *p;
  return sum;
}

// RFC 1624, equation 3, with the difference sum(~m + m') worked out beforehand: a sum of folded
// ones. Two steps fold 32 bits.
constexpr std::uint16_t updated(std::uint16_t checksum, std::uint32_t delta) {
  std::uint32_t sum = static_cast<std::uint16_t>(~checksum) + delta;
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

// The difference that turns the sum `before` into `after`, both as sum_bytes gives them.
constexpr std::uint16_t difference(std::uint64_t before, std::uint64_t after) {
  return fold(std::uint64_t{after} + static_cast<std::uint16_t>(~fold(before)));
}

}  // namespace crab
