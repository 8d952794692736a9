// SPDX-License-Identifier: Apache-2.0
#include "lb/redirect.h"

#include <cstring>

#include "lb/checksum.h"
#include "lb/parse.h"

namespace crab {
namespace {

constexpr unsigned kTcpChecksumOffset = 16;
constexpr unsigned kIpv4ChecksumOffset = 10;

void update(std::uint8_t* checksum, std::uint32_t delta) {
  store(checksum, updated(load<std::uint16_t>(checksum), delta));
}

Tag tag_for(const Packet& packet, const ServiceEntry& service, const BackendEntry& backend) {
  const auto address = [&](const std::uint8_t* bytes) {
    return packet.family == Family::Ipv4 ? IpAddress::v4(bytes) : IpAddress::v6(bytes);
  };
  return make_tag(service.key, {.virtual_address = service.address,
                                .virtual_port = service.port,
                                .backend_address = address(backend.address.data()),
                                .backend_port = backend.port,
                                .client_address = address(packet.source_address()),
                                .client_port = load<be16>(packet.l4()),
                                .isn = load<be32>(packet.l4() + 4)});
}

// Fills the offer where it stands: no header grows, and SYN data stays where it is. Returns the
// difference it makes to the TCP checksum.
std::uint32_t fill_offer(const Packet& packet, const ServiceEntry& service,
                         const BackendEntry& backend) {
  std::uint8_t* option = packet.l4() + kTcpHeaderMin + packet.option_offset;
  std::uint32_t delta = service.filled.delta;
  std::memcpy(option, service.filled.bytes.data(), CRAB_OPT_LEN_ADDR);
  if (service.keyed) {
    const Tag tag = tag_for(packet, service, backend);
    std::memcpy(option + tag_offset(service.form), tag.data(), tag.size());
    delta += fold(sum_bytes(tag.data(), tag.size()));
  }
  // An option at an odd offset has its bytes in the other halves of the words (RFC 1071, 2(B)).
  return packet.option_offset % 2 == 0 ? delta : __builtin_bswap16(fold(delta));
}

// Paper form: the headers move down by eight bytes and the option goes to the front of the list,
// where no EOL of the client's can hide it; SYN data stays where it is. Returns the difference it
// makes to the TCP checksum.
std::uint32_t insert_paper_option(Packet& packet, const ServiceEntry& service) {
  constexpr unsigned kGrowth = CRAB_PAPER_INSERT_LEN;
  std::memmove(packet.data - kGrowth, packet.data, packet.l4_offset + kTcpHeaderMin);
  packet.data -= kGrowth;
  packet.length += kGrowth;
  packet.headroom = static_cast<std::uint16_t>(packet.headroom - kGrowth);
  packet.l4_length = static_cast<std::uint16_t>(packet.l4_length + kGrowth);

  std::uint8_t* option = packet.l4() + kTcpHeaderMin;
  std::memcpy(option, service.filled.bytes.data(), CRAB_PAPER_OPT_LEN);
  std::memset(option + CRAB_PAPER_OPT_LEN, CRAB_TCPOPT_NOP, kGrowth - CRAB_PAPER_OPT_LEN);
  packet.l4()[12] = static_cast<std::uint8_t>(packet.l4()[12] + ((kGrowth / 4) << 4));

  std::uint8_t* ip = packet.l3();
  const auto total_length = load<be16>(ip + 2);
  const be16 grown = to_be(static_cast<std::uint16_t>(to_host(total_length) + kGrowth));
  store(ip + 2, grown);
  update(ip + kIpv4ChecksumOffset,
         difference(static_cast<std::uint16_t>(total_length), static_cast<std::uint16_t>(grown)));
  // The pseudo-header's length, the data offset and the option itself.
  const std::uint64_t length_delta = static_cast<std::uint16_t>(to_be(std::uint16_t{kGrowth}));
  const std::uint64_t offset_delta = (kGrowth / 4) << 4;
  return fold(length_delta + offset_delta + sum_bytes(option, kGrowth));
}

void redirect_one(Packet& packet, const ServiceEntry& service, const BackendEntry& backend) {
  std::uint32_t tcp_delta = backend.tcp_delta;
  tcp_delta += service.form == RedirectForm::Paper ? insert_paper_option(packet, service)
                                                   : fill_offer(packet, service, backend);
  std::memcpy(packet.data, backend.ethernet.data(), backend.ethernet.size());
  std::uint8_t* ip = packet.l3();
  if (packet.family == Family::Ipv4) {
    --ip[8];
    std::memcpy(packet.destination_address(), backend.address.data(), 4);
    update(ip + kIpv4ChecksumOffset, backend.ip_delta);
  } else {
    --ip[7];
    std::memcpy(packet.destination_address(), backend.address.data(), 16);
  }
  store(packet.l4() + 2, backend.port);
  update(packet.l4() + kTcpChecksumOffset, tcp_delta);
  packet.egress_port = backend.port_id;
}

}  // namespace

void redirect(const Burst& burst, const Snapshot& snapshot) {
  const auto is_placed = [](const Packet& p) { return p.verdict == Verdict::Redirected; };
  const auto backend_of = [&](const Packet& p) -> const BackendEntry& {
    return snapshot.service(p.service).backends[p.backend];
  };
  for (const auto i : burst.live()) {
    if (is_placed(burst[i])) __builtin_prefetch(&backend_of(burst[i]));
  }
  for (const auto i : burst.live()) {
    Packet& packet = burst[i];
    if (!is_placed(packet)) continue;
    redirect_one(packet, snapshot.service(packet.service), backend_of(packet));
  }
}

}  // namespace crab
