// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/mapped_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <array>
#include <bit>

#include "kernel_patch/agent/mapped_bytes.h"

namespace crab {

crab_addr to_mapped(const IpAddress& address) {
  std::array<std::uint8_t, sizeof(crab_addr)> bytes{};
  put_mapped(address, bytes.data());
  return std::bit_cast<crab_addr>(bytes);
}

IpAddress from_mapped(const crab_addr& address) {
  const auto bytes = std::bit_cast<std::array<std::uint8_t, sizeof address>>(address);
  return get_mapped(bytes.data());
}

crab_prefix to_mapped(const Prefix& prefix) {
  crab_prefix mapped{};
  mapped.length = prefix.length + (prefix.address.is_v4() ? kMappedPrefixBits : 0);
  mapped.addr = to_mapped(prefix.address);
  return mapped;
}

std::string endpoint_text(const crab_addr& address, __be16 port) {
  const IpAddress plain = from_mapped(address);
  return plain.is_v4() ? fmt::format("{}:{}", plain.to_string(), ntohs(port))
                       : fmt::format("[{}]:{}", plain.to_string(), ntohs(port));
}

}  // namespace crab
