// SPDX-License-Identifier: Apache-2.0
#include "control/prefix.h"

#include <charconv>

namespace crab {
namespace {

// The bits of byte `index` that lie beyond the prefix.
std::uint8_t host_mask(unsigned length, unsigned index) {
  const unsigned first_bit = index * 8;
  if (length >= first_bit + 8) return 0x00;
  if (length <= first_bit) return 0xFF;
  return static_cast<std::uint8_t>(0xFF >> (length - first_bit));
}

}  // namespace

std::optional<Prefix> Prefix::parse(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto address = IpAddress::parse(text.substr(0, slash));
  const auto digits = text.substr(slash + 1);
  Prefix prefix;
  const char* end = digits.data() + digits.size();
  const auto [rest, error] = std::from_chars(digits.data(), end, prefix.length);
  if (!address || error != std::errc() || rest != end) return std::nullopt;
  prefix.address = *address;
  if (prefix.length > address->size() * 8) return std::nullopt;
  return prefix;
}

IpAddress Prefix::first() const {
  IpAddress a = address;
  for (unsigned i = 0; i < a.size(); ++i) {
    a.bytes[i] = static_cast<std::uint8_t>(a.bytes[i] & ~host_mask(length, i));
  }
  return a;
}

IpAddress Prefix::last() const {
  IpAddress a = address;
  for (unsigned i = 0; i < a.size(); ++i) {
    a.bytes[i] = static_cast<std::uint8_t>(a.bytes[i] | host_mask(length, i));
  }
  return a;
}

bool is_link_local(const IpAddress& address) {
  return !address.is_v4() && address.bytes[0] == 0xfe && (address.bytes[1] & 0xc0) == 0x80;
}

bool Prefix::contains(const IpAddress& other) const {
  return other.family == address.family && Prefix{other, length}.first() == first();
}

}  // namespace crab
