// SPDX-License-Identifier: Apache-2.0
// CLOCK_MONOTONIC as a number, for what is shared with the kernel or another process.
#pragma once

#include <chrono>
#include <cstdint>

namespace crab {

inline std::uint64_t monotonic_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

}  // namespace crab
