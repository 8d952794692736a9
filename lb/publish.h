// SPDX-License-Identifier: Apache-2.0
// Publication of snapshots: one pointer, swapped by the control thread, read by every worker once
// per burst, and reclaimed through rte_rcu_qsbr after each worker has passed a quiescent point.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "lb/snapshot.h"

struct rte_rcu_qsbr;

namespace crab {

// Returned by Publisher::publish.
struct PublishOutcome {
  bool applied = false;                 // every worker uses the new snapshot
  std::vector<unsigned> stuck_workers;  // indices of those that did not within the bound
};

class Publisher {
 public:
  // For workers 0..n_workers-1. Throws std::runtime_error if DPDK has no memory for it.
  explicit Publisher(unsigned n_workers);
  ~Publisher();
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;

  // Worker side. A worker calls online() before its first current(), quiescent() between two
  // bursts, when it holds no pointer of an earlier current(), and offline() before it sleeps
  // longer than a millisecond or ends.
  void online(unsigned worker);
  void offline(unsigned worker);
  void quiescent(unsigned worker);
  const Snapshot* current() const { return current_.load(std::memory_order_acquire); }

  // Control thread only. Swaps, then waits up to `bound` for the workers; a snapshot that a stuck
  // worker may still use is kept and freed by a later call.
  PublishOutcome publish(std::unique_ptr<const Snapshot> next, std::chrono::milliseconds bound);

  // Test latch: called between swap and reclaim, so that a test can send packets in mid-swap.
  void set_after_swap_for_test(void (*hook)(void*), void* argument);

 private:
  struct Retired {
    std::uint64_t token;
    std::unique_ptr<const Snapshot> snapshot;
  };
  void reclaim();
  std::vector<unsigned> stuck(std::uint64_t token) const;

  std::atomic<const Snapshot*> current_{nullptr};  // written by control, read by workers
  unsigned n_workers_;
  rte_rcu_qsbr* qsbr_;
  std::vector<Retired> retired_;  // control only
  void (*after_swap_)(void*) = nullptr;
  void* after_swap_argument_ = nullptr;
};

}  // namespace crab
