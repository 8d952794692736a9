// SPDX-License-Identifier: Apache-2.0
#include "lb/parse.h"

#include "lb/pipeline.h"

namespace crab {
namespace {

constexpr std::uint16_t kVlanIdMask = 0x0fff;
constexpr std::uint16_t kIpv4FragmentMask = 0x3fff;  // more fragments, and the offset
constexpr std::uint16_t kIpv6FragmentMask = 0xfff9;  // the offset, and more fragments

enum Ipv6NextHeader : std::uint8_t {
  kHopByHop = 0,
  kRouting = 43,
  kFragmentHeader = 44,
  kDestinationOptions = 60,
};

// RFC 791, 3.1.
bool parse_ipv4(Packet& packet) {
  const std::uint32_t available = packet.length - packet.l3_offset;
  if (available < kIpv4HeaderMin) return Burst::end(packet, Verdict::Truncated);
  const std::uint8_t* ip = packet.l3();
  const std::uint32_t header_length = (ip[0] & 0x0fU) * 4;
  const std::uint32_t total_length = to_host(load<be16>(ip + 2));
  if (ip[0] >> 4 != 4 || header_length < kIpv4HeaderMin || total_length < header_length) {
    return Burst::end(packet, Verdict::BadIpHeader);
  }
  if (total_length > available) return Burst::end(packet, Verdict::Truncated);
  if (ip[9] != kProtocolTcp) return Burst::end(packet, Verdict::Host);
  packet.family = Family::Ipv4;
  packet.l4_offset = static_cast<std::uint16_t>(packet.l3_offset + header_length);
  packet.fragment = (to_host(load<be16>(ip + 6)) & kIpv4FragmentMask) != 0;
  packet.l4_length =
      packet.fragment ? std::uint16_t{0} : static_cast<std::uint16_t>(total_length - header_length);
  return true;
}

// RFC 8200, 4: what stands between the fixed header and TCP. Returns true with the packet's
// offsets set, or ends it.
bool parse_extension_headers(Packet& packet, std::uint8_t next, std::uint32_t payload_length) {
  std::uint32_t offset = packet.l3_offset + kIpv6Header;
  const std::uint32_t end = offset + payload_length;
  for (unsigned n = 0; next != kProtocolTcp; ++n) {
    if (next != kHopByHop && next != kRouting && next != kFragmentHeader &&
        next != kDestinationOptions) {
      return Burst::end(packet, Verdict::Host);
    }
    if (n == kMaxExtensionHeaders) return Burst::end(packet, Verdict::ExtensionHeaders);
    if (offset + 8 > end) return Burst::end(packet, Verdict::Truncated);
    const std::uint8_t* header = packet.data + offset;
    // A routing header with segments left: we are a waypoint, and that is Linux's business.
    if (next == kRouting && header[3] != 0) return Burst::end(packet, Verdict::Host);
    std::uint32_t length = (header[1] + 1U) * 8;
    if (next == kFragmentHeader) {
      // RFC 6946: an atomic fragment is a whole packet.
      packet.fragment |= (to_host(load<be16>(header + 2)) & kIpv6FragmentMask) != 0;
      length = 8;
    }
    next = header[0];
    offset += length;
    if (packet.fragment && next != kProtocolTcp) return Burst::end(packet, Verdict::Host);
    if (offset > end) return Burst::end(packet, Verdict::Truncated);
  }
  packet.l4_offset = static_cast<std::uint16_t>(offset);
  packet.l4_length = packet.fragment ? std::uint16_t{0} : static_cast<std::uint16_t>(end - offset);
  return true;
}

// RFC 8200, 3.
bool parse_ipv6(Packet& packet) {
  const std::uint32_t available = packet.length - packet.l3_offset;
  if (available < kIpv6Header) return Burst::end(packet, Verdict::Truncated);
  const std::uint8_t* ip = packet.l3();
  if (ip[0] >> 4 != 6) return Burst::end(packet, Verdict::BadIpHeader);
  const std::uint32_t payload_length = to_host(load<be16>(ip + 4));
  if (payload_length > available - kIpv6Header) return Burst::end(packet, Verdict::Truncated);
  packet.family = Family::Ipv6;
  return parse_extension_headers(packet, ip[6], payload_length);
}

bool parse_one(Packet& packet, const MacAddress& station) {
  packet.fragment = false;
  packet.vlan_tagged = false;
  if (packet.length < kEthernetHeader) return Burst::end(packet, Verdict::Truncated);
  const bool to_station = load<std::uint32_t>(packet.data) == load<std::uint32_t>(station.data()) &&
                          load<be16>(packet.data + 4) == load<be16>(station.data() + 4);
  if (!to_station) {
    const bool group = (packet.data[0] & 1) != 0;
    return Burst::end(packet, group ? Verdict::Host : Verdict::OtherHost);
  }
  if (packet.nic_checksum_bad) return Burst::end(packet, Verdict::BadChecksum);
  be16 type = load<be16>(packet.data + 12);
  packet.l3_offset = kEthernetHeader;
  if (type == kEtherTypeVlan) {
    packet.l3_offset += kVlanHeader;
    if (packet.length < packet.l3_offset) return Burst::end(packet, Verdict::Truncated);
    packet.vlan_tagged = (to_host(load<be16>(packet.data + 14)) & kVlanIdMask) != 0;
    type = load<be16>(packet.data + 16);
  }
  if (type == kEtherTypeIpv4) return parse_ipv4(packet);
  if (type == kEtherTypeIpv6) return parse_ipv6(packet);
  return Burst::end(packet, Verdict::Host);
}

}  // namespace

void parse(Burst& burst, std::span<const PortSettings> ports) {
  for (const auto i : burst.live()) __builtin_prefetch(burst[i].data);
  burst.filter([&](Packet& packet) { return parse_one(packet, ports[packet.ingress_port].mac); });
}

}  // namespace crab
