// SPDX-License-Identifier: Apache-2.0
#include "lb/tuple_hash.h"

#include <array>
#include <cstddef>

#include "lb/byte_order.h"

namespace crab {

std::uint64_t hash_tuple(Family family, const std::uint8_t* addresses, const std::uint8_t* ports) {
  __extension__ using Product = unsigned __int128;
  constexpr std::array<std::uint64_t, 5> kOdd = {0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9,
                                                 0x94d049bb133111eb, 0xd6e8feb86659fd93,
                                                 0xa0761d6478bd642f};
  const std::size_t n_bytes = family == Family::Ipv4 ? 8 : 32;
  std::uint64_t hash = load<std::uint32_t>(ports) * kOdd[4];
  for (std::size_t k = 0; k < n_bytes / 8; ++k) {
    const auto word = load<std::uint64_t>(addresses + 8 * k) ^ kOdd[k];
    const Product product = Product{word} * (hash ^ kOdd[4 - k]);
    hash = static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  }
  hash = (hash ^ hash >> 32) * kOdd[0];
  return hash ^ hash >> 29;
}

}  // namespace crab
