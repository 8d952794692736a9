// SPDX-License-Identifier: Apache-2.0
// Between the agent's addresses and those of the BPF maps, where IPv4 is mapped into IPv6
// (RFC 4291, 2.5.5.2).
#pragma once

#include <cstdint>
#include <string>

#include "control/prefix.h"
#include "kernel_patch/bpf/layout.h"
#include "lb/address.h"

namespace crab {

inline constexpr unsigned kMappedPrefixBits = 96;  // in front of the IPv4 address

crab_addr to_mapped(const IpAddress& address);
IpAddress from_mapped(const crab_addr& address);
crab_prefix to_mapped(const Prefix& prefix);

// ADDRESS:PORT, [ADDRESS]:PORT for IPv6; port in network order.
std::string endpoint_text(const crab_addr& address, __be16 port);

}  // namespace crab
