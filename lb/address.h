// SPDX-License-Identifier: Apache-2.0
// IP and Ethernet addresses as plain values, for every thread; no DPDK or Asio type.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "lb/byte_order.h"

namespace crab {

enum class Family : std::uint8_t { Ipv4, Ipv6 };

// Network byte order; an IPv4 address takes the first four bytes, and the rest are zero.
struct IpAddress {
  Family family = Family::Ipv4;
  std::array<std::uint8_t, 16> bytes{};

  static IpAddress v4(const std::uint8_t* four_bytes);
  static IpAddress v6(const std::uint8_t* sixteen_bytes);
  // Accepts what inet_pton(3) accepts, and no zone, port or brackets.
  static std::optional<IpAddress> parse(std::string_view text);
  // RFC 5952 form for IPv6.
  std::string to_string() const;

  bool is_v4() const { return family == Family::Ipv4; }
  std::size_t size() const { return is_v4() ? 4 : 16; }
  bool is_unusable() const;
  auto operator<=>(const IpAddress&) const = default;
};

// Unspecified, loopback, multicast or limited broadcast: nothing a host sends from, and nothing a
// service or a backend may have (RFC 1122, 3.2.1.3; RFC 4291, 2.5 and 2.7). Bytes in network order.
inline bool is_unusable(Family family, const std::uint8_t* bytes) {
  if (family == Family::Ipv4) {
    // 0/8, 127/8, and 224/4 with 240/4 above it, limited broadcast included.
    return bytes[0] == 0 || bytes[0] == 127 || bytes[0] >= 224;
  }
  const bool low = load<std::uint64_t>(bytes) == 0 && to_host(load<be32>(bytes + 8)) == 0 &&
                   to_host(load<be32>(bytes + 12)) <= 1;
  return low || bytes[0] == 0xff;
}

using MacAddress = std::array<std::uint8_t, 6>;
std::string to_string(const MacAddress& mac);

// Where a frame has to go so that it reaches an address: what the kernel's route and neighbour
// tables say, looked up by the control thread.
struct NextHop {
  MacAddress destination{};
  MacAddress source{};        // the MAC of the port it leaves by
  std::uint16_t port_id = 0;  // DPDK's, a NIC's: not a TCP port

  auto operator<=>(const NextHop&) const = default;
};

}  // namespace crab

template <>
struct std::hash<crab::IpAddress> {
  std::size_t operator()(const crab::IpAddress& a) const noexcept;
};
