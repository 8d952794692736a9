// SPDX-License-Identifier: Apache-2.0
// Builds frames for packet tests from values. Lengths and checksums are worked out whole from the
// finished bytes, by code of its own: what the datapath updates incrementally must come out equal.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lb/address.h"
#include "lb/redirect_option.h"

namespace crab::test {

using Bytes = std::vector<std::uint8_t>;

inline constexpr MacAddress kClientMac = {0x02, 0, 0, 0, 0, 0xc1};
inline constexpr MacAddress kPortMac = {0x02, 0, 0, 0, 0, 0x1b};
inline constexpr MacAddress kBackendMac = {0x02, 0, 0, 0, 0, 0xb1};

IpAddress ip(const std::string& text);

// TCP options.
Bytes linux_options(std::uint32_t timestamp = 0x01020304);  // the 20 bytes of a Linux SYN
Bytes offer(RedirectForm form);
Bytes redirect(RedirectForm form, std::uint8_t node, const IpAddress& vip, std::uint16_t vport,
               const Tag& tag = {});
Bytes paper_option(const IpAddress& vip);  // kind 42, six bytes
Bytes nops(std::size_t n);
Bytes operator+(Bytes a, const Bytes& b);

enum Flags : std::uint16_t { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, ECE = 64, CWR = 128 };

// A TCP packet as a value; with_... members that a test does not set keep their defaults.
struct Frame {
  MacAddress destination_mac = kPortMac;
  MacAddress source_mac = kClientMac;
  std::optional<std::uint16_t> vlan;  // TCI
  IpAddress source = ip("192.0.2.7");
  IpAddress destination = ip("10.0.0.100");
  std::uint8_t ttl = 64;
  std::uint8_t protocol = 6;
  std::uint16_t ip_id = 0x1234;
  std::uint16_t fragment = 0x4000;  // flags and offset (IPv4)
  Bytes ip_options;                 // IPv4: a multiple of four; IPv6: extension headers as they are
  std::uint8_t first_extension = 6;  // IPv6: the next header field of the fixed header
  std::uint16_t source_port = 40000;
  std::uint16_t destination_port = 80;
  std::uint32_t sequence = 0xdeadbeef;
  std::uint32_t acknowledgement = 0;
  std::uint16_t flags = SYN;
  std::uint16_t window = 64240;
  Bytes options;                            // padded with EOL to a multiple of four
  std::optional<std::uint8_t> data_offset;  // in words; otherwise what the options need
  Bytes payload;
  std::size_t padding = 0;           // after the IP packet, as short frames have
  std::uint16_t checksum_error = 0;  // xor-ed into the TCP checksum
  bool partial_checksum = false;     // only the pseudo-header's sum, as a veth hands over

  Bytes bytes() const;
};

// For messages of failed tests.
std::string hex_dump(const Bytes& bytes);

}  // namespace crab::test
