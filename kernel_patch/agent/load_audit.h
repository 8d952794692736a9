// SPDX-License-Identifier: Apache-2.0
// Compares what the kernel program has counted with the sockets that there are, and corrects it:
// connections from before counting began, and what the program missed (the kernel runs no tracing
// program inside itself, so an interrupt may hide an event).
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <set>
#include <vector>

#include "kernel_patch/agent/load_maps.h"

namespace crab {

// By how much counts are certainly wrong, given counts before and after a look at the sockets,
// which found n_open: positive if connections are missing, negative if there are too many. Those
// that came and went meanwhile may or may not have been seen, so what lies between is right.
std::int64_t discrepancy(const LoadCounts& before, const LoadCounts& after, std::uint64_t n_open);

class LoadAudit {
 public:
  explicit LoadAudit(LoadMaps& maps) : maps_(maps) {}

  // Any thread. Milliseconds on a host with many sockets. Throws AgentError if the kernel does not
  // list them; counts then stay as they are.
  void run();

 private:
  using TupleBytes = std::array<std::uint8_t, sizeof(crab_tuple)>;
  // What one look at the sockets found of each watched backend.
  struct Look {
    std::vector<std::int64_t> discrepancies;
    std::vector<std::uint64_t> n_lingering;
    std::set<TupleBytes> lingering;
  };

  Look look(const std::vector<WatchedBackend>& backends) const;
  void repair(const WatchedBackend& backend, std::int64_t first, std::int64_t second) const;

  LoadMaps& maps_;
  std::mutex mutex_;
  // Connections in FIN-WAIT-2 after their close. They count as open once two audits have seen
  // them: most get the peer's FIN within a round trip.
  std::set<TupleBytes> lingering_;  // mutex_
};

}  // namespace crab
