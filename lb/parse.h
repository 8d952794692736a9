// SPDX-License-Identifier: Apache-2.0
// Stage 1: Ethernet, 802.1Q, IPv4 with options, IPv6 with extension headers, down to TCP.
#pragma once

#include <span>

#include "lb/packet.h"

namespace crab {

struct PortSettings;

inline constexpr be16 kEtherTypeIpv4 = to_be(std::uint16_t{0x0800});
inline constexpr be16 kEtherTypeIpv6 = to_be(std::uint16_t{0x86dd});
inline constexpr be16 kEtherTypeVlan = to_be(std::uint16_t{0x8100});
inline constexpr unsigned kEthernetHeader = 14;
inline constexpr unsigned kVlanHeader = 4;
inline constexpr unsigned kIpv4HeaderMin = 20;
inline constexpr unsigned kIpv6Header = 40;
inline constexpr unsigned kTcpHeaderMin = CRAB_TCP_HDR_MIN;
inline constexpr unsigned kMaxExtensionHeaders = 8;
inline constexpr std::uint8_t kProtocolTcp = 6;

// Keeps TCP over IP to this station, with its offsets; sends everything else that is whole to the
// host path. Of a fragment, and of TCP shorter than its header, it keeps the addresses and leaves
// l4_length below kTcpHeaderMin: classify knows whether that is ours.
void parse(Burst& burst, std::span<const PortSettings> ports);

}  // namespace crab
