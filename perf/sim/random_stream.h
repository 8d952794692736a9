// SPDX-License-Identifier: Apache-2.0
// Random numbers that are the same on every machine: SplitMix64, and not the standard
// library's distributions, which do not promise that. One stream per purpose, so that scenarios
// which differ in one thing only see the same arrivals and the same work.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

#include "policies/splitmix.h"

namespace crab::sim {

class RandomStream {
 public:
  explicit RandomStream(std::uint64_t seed, std::uint64_t purpose)
      : state_(splitmix(seed * kSplitmixStep) ^ splitmix(purpose * kSplitmixStep + 1)) {}

  std::uint64_t next() { return splitmix(state_ += kSplitmixStep); }
  // In (0, 1], so that its logarithm is finite.
  double uniform() { return (static_cast<double>(next() >> 11) + 1) * 0x1p-53; }
  double exponential(double mean) { return -mean * std::log(uniform()); }
  // Box and Muller, "A note on the generation of random normal deviates", 1958.
  double normal() {
    const double radius = std::sqrt(-2 * std::log(uniform()));
    return radius * std::cos(2 * std::numbers::pi * uniform());
  }
  bool happens(double probability) { return probability > 0 && uniform() <= probability; }
  std::uint32_t below(std::uint32_t n) {
    return static_cast<std::uint32_t>((next() >> 32) * n >> 32);
  }

 private:
  std::uint64_t state_;
};

}  // namespace crab::sim
