// SPDX-License-Identifier: Apache-2.0
// The innermost loop of a load-aware policy: which of many 64-bit keys is the least. AVX-512, AVX2
// or plain, whatever the CPU has; found out once, when the program starts.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace crab {

// The upper half of a key is an estimate and counts on for ever, the lower half breaks ties. Both
// wrap around: a key is compared by its distance from an origin that keeps close to all of them,
// the upper half signed, the lower one unsigned, without a borrow between them.
struct KeyOrigin {
  std::uint32_t estimate;
  std::uint32_t tie;

  std::int64_t distance(std::uint64_t key) const {
    const auto high = static_cast<std::uint32_t>(key >> 32) - estimate;
    const auto low = static_cast<std::uint32_t>(key) - tie;
    return static_cast<std::int64_t>(std::uint64_t{high} << 32 | low);
  }
  std::uint64_t key(std::int64_t distance) const {
    const auto bits = static_cast<std::uint64_t>(distance);
    return std::uint64_t{static_cast<std::uint32_t>(bits >> 32) + estimate} << 32 |
           (static_cast<std::uint32_t>(bits) + tie);
  }
};

// How many keys a scan takes at once.
inline constexpr std::size_t kMaxScan = 128;
// What stands for a key that is left out.
inline constexpr std::int64_t kFarthest = std::numeric_limits<std::int64_t>::max();

struct Nearest {
  std::uint32_t index;
  std::int64_t distance;  // kFarthest: all were left out, and the index means nothing
};

// Preconditions of both: n is a multiple of 8, 8 to kMaxScan; arrays are aligned to 64 bytes.
struct KeyScan {
  // The distances of keys[0..n), kFarthest where the bit in `out` is set. Other threads may write
  // the keys meanwhile: each is read whole (x86 loads aligned lanes of 8 bytes atomically), the
  // array is not.
  void (*measure)(const std::atomic<std::uint64_t>* keys, const std::atomic<std::uint64_t>* out,
                  std::size_t n, KeyOrigin origin, std::int64_t* distances);
  // The least distance; of equals the first.
  Nearest (*nearest)(const std::int64_t* distances, std::size_t n);
};
extern const KeyScan kKeyScan;

// Each form by itself, for tests and benchmarks; with null pointers where this CPU lacks it.
struct KeyScans {
  KeyScan plain;
  KeyScan avx2;
  KeyScan avx512;
};
KeyScans key_scans();

struct LeastKey {
  static constexpr std::uint32_t kNone = ~0U;
  std::uint32_t index = kNone;
  std::uint64_t key = 0;
};

// The least of any number of keys, a multiple of 8, leaving out those whose bit in `out` is set.
LeastKey find_least_key(const std::atomic<std::uint64_t>* keys,
                        const std::atomic<std::uint64_t>* out, std::size_t n, KeyOrigin origin);

}  // namespace crab
