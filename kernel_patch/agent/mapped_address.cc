// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/mapped_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <cstring>

namespace crab {

crab_addr to_mapped(const IpAddress& address) {
  crab_addr mapped{};
  if (address.is_v4()) {
    mapped.w[2] = htonl(0xffff);
    std::memcpy(&mapped.w[3], address.bytes.data(), 4);
  } else {
    std::memcpy(mapped.w, address.bytes.data(), sizeof mapped.w);
  }
  return mapped;
}

IpAddress from_mapped(const crab_addr& address) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(address.w);
  if (address.w[0] == 0 && address.w[1] == 0 && address.w[2] == htonl(0xffff)) {
    return IpAddress::v4(bytes + 12);
  }
  return IpAddress::v6(bytes);
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
