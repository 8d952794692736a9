// SPDX-License-Identifier: Apache-2.0
#include "lb/answer.h"

#include <algorithm>
#include <cstring>

#include "lb/admit.h"
#include "lb/checksum.h"
#include "lb/parse.h"

namespace crab {
namespace {

constexpr std::uint8_t kAnswerTtl = 64;
constexpr unsigned kMaxEthernetHeader = kEthernetHeader + kVlanHeader;
using Headers = std::array<std::uint8_t, kMaxEthernetHeader + kIpv6Header + kTcpHeaderMin>;

// RFC 9293, 3.10.7.1: what a RST to a segment for which there is no connection carries.
void write_rst(const Packet& packet, std::uint8_t* out) {
  const std::uint8_t* tcp = packet.l4();
  const std::uint8_t flags = packet.tcp_flags();
  store(out, load<be16>(tcp + 2));
  store(out + 2, load<be16>(tcp));
  out[12] = (kTcpHeaderMin / 4) << 4;
  if ((flags & kAck) != 0) {
    store(out + 4, load<be32>(tcp + 8));
    out[13] = kRst;
    return;
  }
  const std::uint32_t segment_length = packet.l4_length - packet.tcp_header_length() +
                                       ((flags & kSyn) != 0 ? 1U : 0U) +
                                       ((flags & kFin) != 0 ? 1U : 0U);
  store(out + 8, to_be(to_host(load<be32>(tcp + 4)) + segment_length));
  out[13] = kRst | kAck;
}

// Both pseudo-headers amount to the addresses, the protocol and the TCP length.
void write_tcp_checksum(std::uint8_t* tcp, const std::uint8_t* addresses, unsigned n_bytes) {
  const std::uint64_t pseudo =
      sum_bytes(addresses, n_bytes) +
      static_cast<std::uint16_t>(to_be(std::uint16_t{kProtocolTcp + kTcpHeaderMin}));
  store(tcp + 16, static_cast<std::uint16_t>(~fold(pseudo + sum_bytes(tcp, kTcpHeaderMin))));
}

unsigned write_ipv4(const Packet& packet, std::uint8_t* out) {
  const std::uint8_t* ip = packet.l3();
  out[0] = 0x45;
  store(out + 2, to_be(std::uint16_t{kIpv4HeaderMin + kTcpHeaderMin}));
  store(out + 6, to_be(std::uint16_t{0x4000}));  // do not fragment: RFC 6864, 4.1 wants no ID
  out[8] = kAnswerTtl;
  out[9] = kProtocolTcp;
  std::memcpy(out + 12, ip + 16, 4);
  std::memcpy(out + 16, ip + 12, 4);
  store(out + 10, static_cast<std::uint16_t>(~fold(sum_bytes(out, kIpv4HeaderMin))));
  write_rst(packet, out + kIpv4HeaderMin);
  write_tcp_checksum(out + kIpv4HeaderMin, out + 12, 8);
  return kIpv4HeaderMin + kTcpHeaderMin;
}

unsigned write_ipv6(const Packet& packet, std::uint8_t* out) {
  const std::uint8_t* ip = packet.l3();
  out[0] = 0x60;
  store(out + 4, to_be(std::uint16_t{kTcpHeaderMin}));
  out[6] = kProtocolTcp;
  out[7] = kAnswerTtl;
  std::memcpy(out + 8, ip + 24, 16);
  std::memcpy(out + 24, ip + 8, 16);
  write_rst(packet, out + kIpv6Header);
  write_tcp_checksum(out + kIpv6Header, out + 8, 32);
  return kIpv6Header + kTcpHeaderMin;
}

// The answer is never longer than what it answers: options and extension headers go.
void answer_one(Packet& packet) {
  Headers headers{};
  std::uint8_t* out = headers.data();
  std::memcpy(out, packet.data + 6, 6);
  std::memcpy(out + 6, packet.data, 6);
  std::memcpy(out + 12, packet.data + 12, packet.l3_offset - 12U);
  const unsigned ip_length = packet.family == Family::Ipv4
                                 ? write_ipv4(packet, out + packet.l3_offset)
                                 : write_ipv6(packet, out + packet.l3_offset);
  packet.length = packet.l3_offset + ip_length;
  std::memcpy(packet.data, headers.data(), packet.length);
}

}  // namespace

AnswerLimit::AnswerLimit(std::uint32_t per_second, std::uint64_t tsc_hz)
    : cost_tsc_(std::max<std::uint64_t>(1, tsc_hz / per_second)),
      burst_tsc_(std::max(cost_tsc_, tsc_hz / 10)) {}

bool AnswerLimit::take(std::uint64_t now_tsc) {
  if (now_tsc > burst_tsc_) spent_until_tsc_ = std::max(spent_until_tsc_, now_tsc - burst_tsc_);
  if (spent_until_tsc_ + cost_tsc_ > now_tsc) return false;
  spent_until_tsc_ += cost_tsc_;
  return true;
}

void answer(const Burst& burst, AnswerLimit& limit, std::uint64_t now_tsc) {
  for (Packet& packet : burst.all()) {
    if (class_of(packet.verdict) != VerdictClass::Answered) continue;
    if (limit.take(now_tsc)) {
      answer_one(packet);
    } else {
      packet.verdict = Verdict::AnswerLimited;
    }
  }
}

}  // namespace crab
