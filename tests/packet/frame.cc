// SPDX-License-Identifier: Apache-2.0
#include "tests/packet/frame.h"

#include <algorithm>
#include <cstdio>
#include <stdexcept>

namespace crab::test {
namespace {

void put16(Bytes& out, std::uint16_t value) {
  out.push_back(static_cast<std::uint8_t>(value >> 8));
  out.push_back(static_cast<std::uint8_t>(value));
}
void put32(Bytes& out, std::uint32_t value) {
  put16(out, static_cast<std::uint16_t>(value >> 16));
  put16(out, static_cast<std::uint16_t>(value));
}
template <typename Range>
void put(Bytes& out, const Range& bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}
void put_address(Bytes& out, const IpAddress& address) {
  out.insert(out.end(), address.bytes.begin(),
             address.bytes.begin() + static_cast<std::ptrdiff_t>(address.size()));
}
void set16(Bytes& out, std::size_t at, std::uint16_t value) {
  out[at] = static_cast<std::uint8_t>(value >> 8);
  out[at + 1] = static_cast<std::uint8_t>(value);
}

// RFC 1071 by the letter: big-endian words, a byte at a time.
std::uint16_t ones_complement_sum(const Bytes& bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    sum += i % 2 == 0 ? bytes[i] * 256U : bytes[i];
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<std::uint16_t>(sum);
}

}  // namespace

IpAddress ip(const std::string& text) {
  const auto address = IpAddress::parse(text);
  if (!address) throw std::invalid_argument(text);
  return *address;
}

Bytes operator+(Bytes a, const Bytes& b) {
  put(a, b);
  return a;
}

Bytes nops(std::size_t n) { return Bytes(n, 1); }

Bytes linux_options(std::uint32_t timestamp) {
  Bytes out = {2, 4, 0x05, 0xb4, 4, 2, 8, 10};
  put32(out, timestamp);
  put32(out, 0);
  put(out, Bytes{1, 3, 3, 7});
  return out;
}

Bytes redirect(RedirectForm form, std::uint8_t node, const IpAddress& vip, std::uint16_t vport,
               const Tag& tag) {
  const bool with_address = form != RedirectForm::Tag;
  const bool with_tag = form != RedirectForm::Address;
  Bytes out = {253, static_cast<std::uint8_t>(8 + (with_address ? 4 : 0) + (with_tag ? 8 : 0)),
               0xc4, 0xab};
  const int flags = (node != 0 ? 1 : 0) | (with_address ? 2 : 0) | (with_tag ? 4 : 0);
  out.push_back(static_cast<std::uint8_t>(0x10 | flags));
  out.push_back(node);
  put16(out, vport);
  if (with_address) out.insert(out.end(), vip.bytes.begin(), vip.bytes.begin() + 4);
  if (with_tag) put(out, tag);
  return out;
}

Bytes offer(RedirectForm form) { return redirect(form, 0, ip("0.0.0.0"), 0); }

Bytes paper_option(const IpAddress& vip) {
  Bytes out = {42, 6};
  put_address(out, vip);
  return out;
}

Bytes Frame::bytes() const {
  Bytes tcp;
  put16(tcp, source_port);
  put16(tcp, destination_port);
  put32(tcp, sequence);
  put32(tcp, acknowledgement);
  Bytes list = options;
  while (list.size() % 4 != 0) list.push_back(0);
  tcp.push_back(static_cast<std::uint8_t>(data_offset.value_or(5 + list.size() / 4) << 4));
  tcp.push_back(static_cast<std::uint8_t>(flags));
  put16(tcp, window);
  put32(tcp, 0);
  put(tcp, list);
  put(tcp, payload);
  if (protocol == 6) {
    Bytes pseudo;
    put_address(pseudo, source);
    put_address(pseudo, destination);
    put32(pseudo, static_cast<std::uint32_t>(tcp.size()));
    put32(pseudo, protocol);
    const auto sum = ones_complement_sum(partial_checksum ? pseudo : pseudo + tcp);
    set16(tcp, 16, partial_checksum ? sum : static_cast<std::uint16_t>(~sum ^ checksum_error));
  }

  Bytes out;
  put(out, destination_mac);
  put(out, source_mac);
  if (vlan) {
    put16(out, 0x8100);
    put16(out, *vlan);
  }
  if (source.is_v4()) {
    put16(out, 0x0800);
    Bytes header = {static_cast<std::uint8_t>(0x45 + ip_options.size() / 4), 0};
    put16(header, static_cast<std::uint16_t>(20 + ip_options.size() + tcp.size()));
    put16(header, ip_id);
    put16(header, fragment);
    put(header, Bytes{ttl, protocol, 0, 0});
    put_address(header, source);
    put_address(header, destination);
    put(header, ip_options);
    set16(header, 10, static_cast<std::uint16_t>(~ones_complement_sum(header)));
    put(out, header);
  } else {
    put16(out, 0x86dd);
    put32(out, 0x60000000);
    put16(out, static_cast<std::uint16_t>(ip_options.size() + tcp.size()));
    out.push_back(first_extension == 6 ? protocol : first_extension);
    out.push_back(ttl);
    put_address(out, source);
    put_address(out, destination);
    put(out, ip_options);
  }
  put(out, tcp);
  out.resize(out.size() + padding);
  return out;
}

std::string hex_dump(const Bytes& bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    char byte[8];
    std::snprintf(byte, sizeof byte, i % 16 == 0 ? "\n%02x" : " %02x", bytes[i]);
    text += byte;
  }
  return text;
}

}  // namespace crab::test
