// SPDX-License-Identifier: Apache-2.0
// What the control API counts of itself. Written by the strand or gRPC's threads, read by any.
#pragma once

#include <atomic>
#include <cstdint>

namespace crab {

struct ControlCounters {
  std::atomic<std::uint32_t> n_watch_streams{0};
  std::atomic<std::uint64_t> n_slow_watchers{0};
  std::atomic<std::uint64_t> n_repeated_requests{0};
  std::atomic<std::uint64_t> n_drained_by_zero{0};
  std::atomic<std::uint64_t> n_drained_by_deadline{0};
  std::atomic<std::uint32_t> n_leases{0};
  std::atomic<std::uint64_t> n_expired_leases{0};
};

}  // namespace crab
