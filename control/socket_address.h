// SPDX-License-Identifier: Apache-2.0
// An address with a port, as configurations write it: 10.0.0.2:7471, [fd00::2]:7471.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lb/address.h"

namespace crab {

struct SocketAddress {
  IpAddress address;
  std::uint16_t port = 0;  // host order, 1 to 65535

  static std::optional<SocketAddress> parse(std::string_view text);
  std::string to_string() const;

  auto operator<=>(const SocketAddress&) const = default;
};

// 127.0.0.0/8 and ::1.
bool is_loopback(const IpAddress& address);

}  // namespace crab
