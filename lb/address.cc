// SPDX-License-Identifier: Apache-2.0
#include "lb/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstdio>

namespace crab {

IpAddress IpAddress::v4(const std::uint8_t* four_bytes) {
  IpAddress a;
  std::copy_n(four_bytes, 4, a.bytes.begin());
  return a;
}

IpAddress IpAddress::v6(const std::uint8_t* sixteen_bytes) {
  IpAddress a;
  a.family = Family::Ipv6;
  std::copy_n(sixteen_bytes, 16, a.bytes.begin());
  return a;
}

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  const std::string terminated(text);
  IpAddress a;
  if (inet_pton(AF_INET, terminated.c_str(), a.bytes.data()) == 1) return a;
  a.family = Family::Ipv6;
  if (inet_pton(AF_INET6, terminated.c_str(), a.bytes.data()) == 1) return a;
  return std::nullopt;
}

std::string IpAddress::to_string() const {
  char text[INET6_ADDRSTRLEN];
  return inet_ntop(is_v4() ? AF_INET : AF_INET6, bytes.data(), text, sizeof text);
}

bool IpAddress::is_unusable() const { return crab::is_unusable(family, bytes.data()); }

std::string to_string(const MacAddress& mac) {
  char text[18];
  std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
                mac[4], mac[5]);
  return text;
}

}  // namespace crab

std::size_t std::hash<crab::IpAddress>::operator()(const crab::IpAddress& a) const noexcept {
  const std::string_view bytes(reinterpret_cast<const char*>(a.bytes.data()), a.bytes.size());
  return std::hash<std::string_view>{}(bytes) ^ static_cast<std::size_t>(a.family);
}
