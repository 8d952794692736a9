// SPDX-License-Identifier: Apache-2.0
// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014):
// random numbers and hashes that are the same on every machine.
#pragma once

#include <cstdint>

namespace crab {

// What the generator adds to its state for each number.
inline constexpr std::uint64_t kSplitmixStep = 0x9e3779b97f4a7c15;

// Its finaliser: a permutation of 64 bits that spreads every bit of z over all of them.
constexpr std::uint64_t splitmix(std::uint64_t z) {
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

}  // namespace crab
