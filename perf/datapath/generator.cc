// SPDX-License-Identifier: Apache-2.0
#include "perf/datapath/generator.h"

#include <rte_mbuf.h>

#include <algorithm>
#include <cstring>

#include "lb/parse.h"

namespace crab::perf {
namespace {

// What a Linux SYN carries before the offer: MSS, SACK permitted, timestamps, NOP, window scale.
constexpr std::array<std::uint8_t, 20> kLinuxOptions = {2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0,
                                                        0, 1, 0,    0,    0, 0, 1, 3,  3, 7};

std::uint8_t offer_flags(RedirectForm form) {
  constexpr std::uint8_t kVersion = CRAB_OPT_VERSION << CRAB_OPT_VERSION_SHIFT;
  switch (form) {
    case RedirectForm::Address:
      return kVersion | CRAB_OPT_F_ADDRESS;
    case RedirectForm::Tag:
      return kVersion | CRAB_OPT_F_TAG;
    default:
      return kVersion | CRAB_OPT_F_ADDRESS | CRAB_OPT_F_TAG;
  }
}

}  // namespace

IpAddress service_address(RedirectForm form, unsigned index) {
  IpAddress address;
  if (form == RedirectForm::Tag) {
    address.family = Family::Ipv6;
    address.bytes = {0xfd, 0, 0, 1};
  } else {
    address.bytes = {10, 1};
  }
  const std::size_t end = address.size();
  address.bytes[end - 2] = static_cast<std::uint8_t>(index >> 8);
  address.bytes[end - 1] = static_cast<std::uint8_t>(index);
  return address;
}

Generator::Generator(const GeneratorSettings& settings) : settings_(settings) {
  for (unsigned i = 0; i < settings.n_services; ++i) {
    services_.push_back(service_address(settings.form, i));
  }
  const bool v6 = settings.form == RedirectForm::Tag;
  std::uint8_t* f = frame_.data();
  std::copy(kStation.begin(), kStation.end(), f);
  f[6] = 0x02;
  f[11] = 0x02;
  std::uint8_t* ip = f + kEthernetHeader;
  const std::size_t option_length = length_of(settings.form);
  const auto tcp_length =
      static_cast<std::uint16_t>(kTcpHeaderMin + kLinuxOptions.size() + option_length);
  store(f + 12, v6 ? kEtherTypeIpv6 : kEtherTypeIpv4);
  if (v6) {
    ip[0] = 0x60;
    store(ip + 4, to_be(tcp_length));
    ip[6] = kProtocolTcp;
    ip[7] = 64;
    ip[8] = 0xfd;
    source_offset_ = kEthernetHeader + 8 + 12;
    destination_offset_ = kEthernetHeader + 24;
    l4_offset_ = kEthernetHeader + kIpv6Header;
  } else {
    ip[0] = 0x45;
    store(ip + 2, to_be(static_cast<std::uint16_t>(kIpv4HeaderMin + tcp_length)));
    ip[8] = 64;
    ip[9] = kProtocolTcp;
    source_offset_ = kEthernetHeader + 12;
    destination_offset_ = kEthernetHeader + 16;
    l4_offset_ = kEthernetHeader + kIpv4HeaderMin;
  }
  std::uint8_t* tcp = f + l4_offset_;
  store(tcp + 2, to_be(kServicePort));
  tcp[12] = static_cast<std::uint8_t>(tcp_length / 4 << 4);
  tcp[13] = 0x02;
  std::copy(kLinuxOptions.begin(), kLinuxOptions.end(), tcp + kTcpHeaderMin);
  std::uint8_t* option = tcp + kTcpHeaderMin + kLinuxOptions.size();
  option[0] = CRAB_OPT_KIND;
  option[1] = static_cast<std::uint8_t>(option_length);
  store(option + 2, to_be(std::uint16_t{CRAB_OPT_EXID}));
  option[4] = offer_flags(settings.form);
  frame_length_ = l4_offset_ + tcp_length;
}

// xorshift64* (Vigna, 2016).
std::uint64_t Generator::next_random() {
  random_ ^= random_ >> 12;
  random_ ^= random_ << 25;
  random_ ^= random_ >> 27;
  return random_ * 0x2545F4914F6CDD1DULL;
}

void Generator::fill(rte_mbuf** packets, unsigned n) {
  for (unsigned k = 0; k < n; ++k) {
    std::uint64_t seed = next_random();
    std::uint64_t& remembered = recent_[n_sent_++ % recent_.size()];
    if (seed % 100 < settings_.retransmitted_percent && remembered != 0) seed = remembered;
    remembered = seed;

    auto* data = rte_pktmbuf_mtod(packets[k], std::uint8_t*);
    packets[k]->data_len = static_cast<std::uint16_t>(frame_length_);
    packets[k]->pkt_len = static_cast<std::uint32_t>(frame_length_);
    std::memcpy(data, frame_.data(), frame_.size());
    const IpAddress& service =
        services_[services_.size() == 1 ? 0 : (seed >> 16) % services_.size()];
    std::memcpy(data + destination_offset_, service.bytes.data(), service.size());
    // Sources in 11.0.0.0/8 (or the low bits of an IPv6 address), any port, any ISN.
    store(data + source_offset_, static_cast<std::uint32_t>(11 | (seed & 0xffffff) << 8));
    store(data + l4_offset_, static_cast<std::uint16_t>(seed >> 48));
    store(data + l4_offset_ + 4, static_cast<std::uint32_t>(seed >> 20));
  }
}

}  // namespace crab::perf
