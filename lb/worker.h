// SPDX-License-Identifier: Apache-2.0
// The poll loop of one lcore: receive, pipeline, transmit, quiescent, for each port in turn.
// While it polls it makes no system call of its own; a driver such as net_af_packet may.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "lb/counters.h"
#include "lb/pipeline.h"
#include "lb/publish.h"
#include "lb/transmit.h"

struct rte_mbuf;
struct rte_ring;

namespace crab {

// One port as one worker serves it.
struct WorkerPort {
  std::uint16_t port_id = 0;
  rte_ring* to_host = nullptr;    // all workers write, the host thread reads
  rte_ring* from_host = nullptr;  // the host thread writes; null unless this worker drains it
};

struct WorkerSettings {
  unsigned index = 0;  // of the worker, and of its queue on every port
  bool sleep_when_idle = false;
  PipelineSettings pipeline;
  std::vector<WorkerPort> ports;
};

class Worker {
 public:
  // `publisher` has a snapshot, and outlives the worker as `counters` does. Throws what
  // Pipeline's constructor throws.
  Worker(const WorkerSettings& settings, Publisher& publisher, WorkerCounters& counters);

  // On the worker's lcore; returns after stop(), offline.
  void run();
  // Any thread.
  void stop() { stop_.store(true, std::memory_order_relaxed); }

 private:
  unsigned poll(const WorkerPort& port);
  unsigned drain_host(const WorkerPort& port);
  void idle();

  // All but stop_ belong to the worker's thread once run() has begun.
  const unsigned index_;
  const bool sleep_when_idle_;
  const std::vector<WorkerPort> ports_;
  Publisher& publisher_;
  WorkerCounters& counters_;
  Pipeline pipeline_;
  Transmit transmit_;
  std::uint32_t n_empty_ = 0;  // polls without a packet, in a row
  std::int64_t sleep_ns_ = 0;
  alignas(64) std::atomic<bool> stop_{false};  // written by the main thread, read by the worker
};

}  // namespace crab
