// SPDX-License-Identifier: Apache-2.0
// An address in 16 bytes, network order, an IPv4 one mapped (RFC 4291, 2.5.5.2): as in the BPF maps
// and on the wire of load reports. Depends on nothing but lb/address.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "lb/address.h"

namespace crab {

inline constexpr std::array<std::uint8_t, 12> kMappedPrefix = {0, 0, 0, 0, 0,    0,
                                                               0, 0, 0, 0, 0xff, 0xff};

inline void put_mapped(const IpAddress& address, std::uint8_t* sixteen_bytes) {
  if (address.is_v4()) sixteen_bytes = std::ranges::copy(kMappedPrefix, sixteen_bytes).out;
  std::copy_n(address.bytes.begin(), address.size(), sixteen_bytes);
}

inline IpAddress get_mapped(const std::uint8_t* sixteen_bytes) {
  const bool is_v4 = std::equal(kMappedPrefix.begin(), kMappedPrefix.end(), sixteen_bytes);
  return is_v4 ? IpAddress::v4(sixteen_bytes + kMappedPrefix.size()) : IpAddress::v6(sixteen_bytes);
}

}  // namespace crab
