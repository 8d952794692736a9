// SPDX-License-Identifier: Apache-2.0
#include "control/listen_address.h"

namespace crab {
namespace {

constexpr std::string_view kUnix = "unix:";
constexpr std::string_view kTcp = "tcp:";

}  // namespace

std::optional<ListenAddress> parse_listen_address(std::string_view text) {
  if (text.starts_with(kTcp)) {
    const auto address = SocketAddress::parse(text.substr(kTcp.size()));
    if (!address) return std::nullopt;
    return *address;
  }
  if (!text.starts_with(kUnix)) return std::nullopt;
  text.remove_prefix(kUnix.size());
  if (!text.starts_with('/') || text.starts_with("//") || text.ends_with('/')) return std::nullopt;
  return UnixPath{std::string(text)};
}

}  // namespace crab
