// SPDX-License-Identifier: Apache-2.0
#include "lb/complete.h"

#include "lb/checksum.h"
#include "lb/parse.h"
#include "lb/pipeline.h"

namespace crab {
namespace {

constexpr std::uint8_t kProtocolUdp = 17;

void complete(std::uint8_t* l4, std::uint32_t length, std::uint8_t protocol,
              std::uint64_t address_sum) {
  const unsigned offset = protocol == kProtocolTcp ? 16 : 6;
  const unsigned header = protocol == kProtocolTcp ? kTcpHeaderMin : 8;
  if (length < header || length > UINT16_MAX) return;
  const std::uint64_t pseudo =
      address_sum + static_cast<std::uint16_t>(to_be(std::uint16_t{protocol})) +
      static_cast<std::uint16_t>(to_be(static_cast<std::uint16_t>(length)));
  store(l4 + offset, std::uint16_t{0});
  std::uint16_t checksum = static_cast<std::uint16_t>(~fold(pseudo + sum_bytes(l4, length)));
  if (protocol == kProtocolUdp && checksum == 0) checksum = 0xffff;  // RFC 768: zero means none
  store(l4 + offset, checksum);
}

bool is_completable(std::uint8_t protocol) {
  return protocol == kProtocolTcp || protocol == kProtocolUdp;
}

void complete_ipv4(std::uint8_t* ip, std::uint32_t available) {
  if (available < kIpv4HeaderMin || !is_completable(ip[9])) return;
  const std::uint32_t header = (ip[0] & 0x0fU) * 4;
  const std::uint32_t total = to_host(load<be16>(ip + 2));
  const bool fragment = (to_host(load<be16>(ip + 6)) & 0x3fff) != 0;
  if (header < kIpv4HeaderMin || total < header || total > available || fragment) return;
  // A sender that wants no UDP checksum at all (RFC 768) writes zero, and no pseudo-header's sum.
  if (ip[9] == kProtocolUdp && total >= header + 8 && load<std::uint16_t>(ip + header + 6) == 0) {
    return;
  }
  complete(ip + header, total - header, ip[9], sum_bytes(ip + 12, 8));
}

// Kernels leave checksums to a device only without extension headers in between.
void complete_ipv6(std::uint8_t* ip, std::uint32_t available) {
  if (available < kIpv6Header || !is_completable(ip[6])) return;
  const std::uint32_t payload = to_host(load<be16>(ip + 4));
  if (payload > available - kIpv6Header) return;
  complete(ip + kIpv6Header, payload, ip[6], sum_bytes(ip + 8, 32));
}

}  // namespace

void complete_checksums(const Burst& burst, std::span<const PortSettings> ports) {
  for (Packet& packet : burst.all()) {
    if (!ports[packet.ingress_port].complete_checksums) continue;
    if (packet.length < kEthernetHeader + kVlanHeader) continue;
    unsigned offset = kEthernetHeader;
    be16 type = load<be16>(packet.data + 12);
    if (type == kEtherTypeVlan) {
      type = load<be16>(packet.data + 16);
      offset += kVlanHeader;
    }
    if (type == kEtherTypeIpv4) complete_ipv4(packet.data + offset, packet.length - offset);
    if (type == kEtherTypeIpv6) complete_ipv6(packet.data + offset, packet.length - offset);
  }
}

}  // namespace crab
