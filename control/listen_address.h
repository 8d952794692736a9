// SPDX-License-Identifier: Apache-2.0
// Where the control API listens, as control.listen writes it: unix:/PATH, tcp:ADDRESS:PORT.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "control/socket_address.h"

namespace crab {

struct UnixPath {
  std::string path;  // absolute
  auto operator<=>(const UnixPath&) const = default;
};

using ListenAddress = std::variant<UnixPath, SocketAddress>;

// Empty if text is neither. A path may still be too long for the kernel.
std::optional<ListenAddress> parse_listen_address(std::string_view text);

inline bool is_tcp(const ListenAddress& address) {
  return std::holds_alternative<SocketAddress>(address);
}

}  // namespace crab
