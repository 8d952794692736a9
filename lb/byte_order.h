// SPDX-License-Identifier: Apache-2.0
// Byte order as a type: a be16 or be32 holds the bytes as they stand on the wire, and
// nothing computes with one by accident.
#pragma once

#include <bit>
#include <compare>
#include <cstdint>
#include <cstring>

namespace crab {

static_assert(std::endian::native == std::endian::little, "the swaps below assume x86");

enum class be16 : std::uint16_t {};
enum class be32 : std::uint32_t {};

constexpr be16 to_be(std::uint16_t host) { return be16{__builtin_bswap16(host)}; }
constexpr be32 to_be(std::uint32_t host) { return be32{__builtin_bswap32(host)}; }
constexpr std::uint16_t to_host(be16 v) { return __builtin_bswap16(static_cast<std::uint16_t>(v)); }
constexpr std::uint32_t to_host(be32 v) { return __builtin_bswap32(static_cast<std::uint32_t>(v)); }

// Unaligned access to bytes of a packet; T is an integer, be16 or be32.
template <typename T>
inline T load(const std::uint8_t* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <typename T>
inline void store(std::uint8_t* p, T v) {
  std::memcpy(p, &v, sizeof v);
}

}  // namespace crab
