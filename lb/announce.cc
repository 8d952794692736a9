// SPDX-License-Identifier: Apache-2.0
#include "lb/announce.h"

#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <initializer_list>

#include "lb/checksum.h"

namespace crab {

namespace {

using Bytes = std::vector<std::uint8_t>;

void append(Bytes& frame, std::initializer_list<std::uint8_t> bytes) {
  frame.insert(frame.end(), bytes);
}
template <typename Range>
void append(Bytes& frame, const Range& bytes, std::size_t n) {
  frame.insert(frame.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n));
}

Bytes arp_announcement(const IpAddress& address, const MacAddress& mac) {
  Bytes frame(6, 0xFF);
  append(frame, mac, 6);
  append(frame, {0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1});  // a request, as RFC 5227 has it
  append(frame, mac, 6);
  append(frame, address.bytes, 4);
  append(frame, {0, 0, 0, 0, 0, 0});
  append(frame, address.bytes, 4);
  return frame;
}

Bytes neighbor_advertisement(const IpAddress& address, const MacAddress& mac) {
  constexpr std::uint8_t kLength = 32;
  constexpr std::uint8_t kIcmp6 = 58;
  constexpr std::array<std::uint8_t, 16> kAllNodes{0xFF, 0x02, 0, 0, 0, 0, 0, 0,
                                                   0,    0,    0, 0, 0, 0, 0, 1};
  constexpr std::size_t kIpv6 = 14;
  constexpr std::size_t kIcmp = kIpv6 + 40;

  Bytes frame{0x33, 0x33, 0, 0, 0, 1};
  append(frame, mac, 6);
  append(frame, {0x86, 0xDD, 0x60, 0, 0, 0, 0, kLength, kIcmp6, 255});
  append(frame, address.bytes, 16);
  append(frame, kAllNodes, 16);
  append(frame, {136, 0, 0, 0, 0x20, 0, 0, 0});  // override, neither a router nor solicited
  append(frame, address.bytes, 16);
  append(frame, {2, 1});  // target link-layer address
  append(frame, mac, 6);

  // RFC 8200, 8.1: both addresses, length and next header, then the message.
  const std::array<std::uint8_t, 4> pseudo{0, kLength, 0, kIcmp6};
  const std::uint64_t sum = sum_bytes(frame.data() + kIpv6 + 8, 32) + sum_bytes(pseudo.data(), 4) +
                            sum_bytes(frame.data() + kIcmp, kLength);
  store(frame.data() + kIcmp + 2, static_cast<std::uint16_t>(~fold(sum)));
  return frame;
}

}  // namespace

std::vector<std::uint8_t> make_announcement(const IpAddress& address, const MacAddress& mac) {
  return address.is_v4() ? arp_announcement(address, mac) : neighbor_advertisement(address, mac);
}

void announce(unsigned ifindex, const IpAddress& address, const MacAddress& mac) {
  const Bytes frame = make_announcement(address, mac);
  const int sender = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_ifindex = static_cast<int>(ifindex);
  if (sender < 0 || sendto(sender, frame.data(), frame.size(), 0,
                           reinterpret_cast<const sockaddr*>(&to), sizeof to) < 0) {
    spdlog::warn("{} could not be announced: {}", address.to_string(), std::strerror(errno));
  }
  if (sender >= 0) close(sender);
}

}  // namespace crab
