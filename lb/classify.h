// SPDX-License-Identifier: Apache-2.0
// Stage 2: from {address, port} to a service, by the snapshot's rte_hash.
#pragma once

#include <nmmintrin.h>

#include <algorithm>
#include <cstdint>

#include "lb/packet.h"
#include "lb/snapshot.h"

namespace crab {

// Keeps TCP to a service, in a frame without a VLAN tag. The rest is Linux's, except what may
// belong to a service but cannot be told (fragments, cut headers): dropped by name.
void classify(Burst& burst, const Snapshot& snapshot);

// Keys and their hashes, for the look-up and for the snapshot that builds the tables. CRC32C is
// enough: services are the operator's, so nobody can aim collisions at it.
inline Snapshot::Key4 key4(const std::uint8_t* address, std::uint16_t port) {
  return {.address = load<std::uint32_t>(address), .port = port};
}
inline Snapshot::Key6 key6(const std::uint8_t* address, std::uint16_t port) {
  Snapshot::Key6 key{.address = {}, .port = port};
  std::copy_n(address, 16, key.address.begin());
  return key;
}
inline std::uint32_t hash_of(const Snapshot::Key4& key) {
  const std::uint64_t word = key.address | std::uint64_t{key.port} << 32;
  return static_cast<std::uint32_t>(_mm_crc32_u64(0, word));
}
inline std::uint32_t hash_of(const Snapshot::Key6& key) {
  std::uint64_t crc = _mm_crc32_u64(key.port, load<std::uint64_t>(key.address.data()));
  crc = _mm_crc32_u64(crc, load<std::uint64_t>(key.address.data() + 8));
  return static_cast<std::uint32_t>(crc);
}

}  // namespace crab
