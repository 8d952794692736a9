// SPDX-License-Identifier: Apache-2.0
// The counters of the datapath. Each worker owns one WorkerCounters and is its only writer; any
// thread may read it. A worker publishes its block once per burst under a sequence count, so
// that every reading of one block is a state between two bursts and the conservation law
// rx = sum of verdicts holds in it exactly.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "lb/verdict.h"

namespace crab {

// Limits of the identifiers that index counters; control refuses what would exceed them.
inline constexpr std::uint32_t kMaxServices = 16'384;
inline constexpr std::uint32_t kMaxLoadSlots = 1U << 20;  // fits recall's 22 bits

// What one worker has counted since it started; plain values, as a reader gets them.
struct WorkerTotals {
  std::uint64_t n_rx_packets = 0;
  std::uint64_t n_rx_bytes = 0;
  std::array<std::uint64_t, kVerdictCount> n_verdicts{};
  std::uint64_t n_recalled = 0;            // retransmitted SYNs sent where the first one went
  std::uint64_t n_recall_stale = 0;        // remembered backend no longer eligible: chosen anew
  std::uint64_t n_recall_evicted = 0;      // entries younger than the promised 3 s pushed out
  std::uint64_t n_host_to_wire = 0;        // packets of Linux's that this worker transmitted
  std::uint64_t n_host_to_wire_drops = 0;  // of those, refused by the port
  std::uint64_t n_bursts = 0;
  std::uint64_t n_empty_polls = 0;

  std::uint64_t verdict(Verdict v) const { return n_verdicts[static_cast<std::size_t>(v)]; }
  WorkerTotals& operator+=(const WorkerTotals& other);
  WorkerTotals& operator-=(const WorkerTotals& other);
};

class WorkerCounters {
 public:
  WorkerCounters();
  WorkerCounters(const WorkerCounters&) = delete;
  WorkerCounters& operator=(const WorkerCounters&) = delete;

  // Worker only. What is added between two calls of publish() becomes visible at once.
  WorkerTotals& pending() { return pending_; }
  void publish();

  // Worker only: SYNs of a service were placed for the first time, one of them at that slot.
  // Visible at once, outside the sequence count: these are rates by object, not part of the
  // conservation law.
  void count_assignments(std::uint32_t service_id, std::uint64_t n) {
    bump(assigned_by_service_[service_id], n);
  }
  void count_assignment_to(std::uint32_t load_slot) { bump(assigned_by_slot_[load_slot], 1); }
  // Worker only: a SYN for a service ended with a verdict other than Redirected.
  void count_refusal(std::uint32_t service_id) { bump(refused_by_service_[service_id], 1); }

  // Any thread.
  WorkerTotals read() const;
  std::uint64_t assigned_to_service(std::uint32_t service_id) const {
    return assigned_by_service_[service_id].load(std::memory_order_relaxed);
  }
  std::uint64_t refused_by_service(std::uint32_t service_id) const {
    return refused_by_service_[service_id].load(std::memory_order_relaxed);
  }
  std::uint64_t assigned_to_slot(std::uint32_t load_slot) const {
    return assigned_by_slot_[load_slot].load(std::memory_order_relaxed);
  }

 private:
  using Cell = std::atomic<std::uint64_t>;
  // One writer: a load and a store, not a locked add.
  static void bump(Cell& cell, std::uint64_t n) {
    cell.store(cell.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  // Zero pages straight from the kernel, so that a limit costs address space and not memory.
  struct Unmap {
    std::size_t n_cells;
    void operator()(Cell* cells) const;
  };
  using Cells = std::unique_ptr<Cell[], Unmap>;
  static Cells map_cells(std::size_t n_cells);

  static constexpr std::size_t kWords = sizeof(WorkerTotals) / sizeof(std::uint64_t);

  WorkerTotals pending_;                                // written and read by the worker alone
  alignas(64) std::atomic<std::uint32_t> sequence_{0};  // odd while the worker is writing words_
  std::array<std::atomic<std::uint64_t>, kWords> words_{};
  Cells assigned_by_service_;
  Cells refused_by_service_;
  Cells assigned_by_slot_;
};

// The sum over all workers, each block consistent in itself.
WorkerTotals sum(std::span<const std::unique_ptr<WorkerCounters>> workers);

}  // namespace crab
