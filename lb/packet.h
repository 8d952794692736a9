// SPDX-License-Identifier: Apache-2.0
// A packet as the pipeline sees it: bytes and what the stages found out about them. No DPDK type,
// so that the same code runs on mbufs, on test fixtures and on a fuzzer's input.
#pragma once

#include <array>
#include <cassert>
#include <cstdint>
#include <span>

#include "lb/address.h"
#include "lb/redirect_option.h"
#include "lb/verdict.h"

namespace crab {

inline constexpr unsigned kMaxBurst = 32;
inline constexpr unsigned kMaxPorts = 16;

// One frame. The worker fills the first group, the pipeline the rest.
struct alignas(64) Packet {
  // In and out: the pipeline moves `data` down when the header grows (paper form) and shortens
  // `length` when it turns the packet into an answer; the worker then follows with its buffer.
  std::uint8_t* data = nullptr;  // the Ethernet header; `length` contiguous bytes, no FCS
  std::uint32_t length = 0;
  // In.
  std::uint16_t headroom = 0;  // writable bytes before data
  std::uint16_t ingress_port = 0;
  bool nic_checksum_bad = false;

  // Out.
  Verdict verdict = Verdict::Host;
  std::uint16_t egress_port = 0;  // for Redirected

  // Set by parse.
  Family family = Family::Ipv4;
  std::uint8_t l3_offset = 0;   // bytes from data
  std::uint16_t l4_offset = 0;  // bytes from data
  std::uint16_t l4_length = 0;  // TCP header and payload, from the IP header, without padding
  bool vlan_tagged = false;     // with a VLAN identifier other than zero
  bool fragment = false;        // not the whole IP packet; l4_length is then zero
  // Set by admit.
  std::uint8_t option_offset = 0;  // of the offer, from the start of the option list
  // Set by choose.
  std::uint32_t backend = 0;  // index into the service's backends
  // Set by classify.
  std::uint32_t service = 0;  // index into the snapshot's services
  // Set by recall.
  std::uint64_t flow_hash = 0;  // over the 5-tuple and the ISN

  std::uint8_t* l3() const { return data + l3_offset; }
  std::uint8_t* l4() const { return data + l4_offset; }
  std::uint8_t tcp_flags() const { return l4()[13]; }
  std::uint8_t tcp_header_length() const { return static_cast<std::uint8_t>((l4()[12] >> 4) * 4); }
  const std::uint8_t* source_address() const { return l3() + (family == Family::Ipv4 ? 12 : 8); }
  std::uint8_t* destination_address() const { return l3() + (family == Family::Ipv4 ? 16 : 24); }
};
static_assert(sizeof(Packet) == 64, "one cache line");

// The packets of one burst that are still on their way, by index. A stage takes each in turn and
// either keeps it or ends it with a verdict.
class Burst {
 public:
  explicit Burst(std::span<Packet> packets) : packets_(packets) {
    assert(packets.size() <= kMaxBurst);
    n_live_ = static_cast<unsigned>(packets.size());
    for (unsigned i = 0; i < n_live_; ++i) live_[i] = static_cast<std::uint8_t>(i);
  }

  std::span<Packet> all() const { return packets_; }
  std::span<const std::uint8_t> live() const { return {live_.data(), n_live_}; }
  Packet& operator[](std::size_t i) const { return packets_[i]; }

  // Calls stage(packet) for each live packet; it returns true to keep it, false once it has set
  // the verdict that ends it.
  template <typename Stage>
  void filter(Stage&& stage) {
    unsigned n_kept = 0;
    for (unsigned k = 0; k < n_live_; ++k) {
      const std::uint8_t i = live_[k];
      live_[n_kept] = i;
      n_kept += stage(packets_[i]) ? 1U : 0U;
    }
    n_live_ = n_kept;
  }

  // Ends a packet; for use inside filter: `return end(packet, Verdict::Fragment);`
  static bool end(Packet& packet, Verdict verdict) {
    packet.verdict = verdict;
    return false;
  }

 private:
  std::span<Packet> packets_;
  std::array<std::uint8_t, kMaxBurst> live_;
  unsigned n_live_;
};

}  // namespace crab
