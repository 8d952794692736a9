// SPDX-License-Identifier: Apache-2.0
// The host path: one thread carries every packet that the workers do not keep to Linux, through
// the port's TAP, and Linux's own packets back. It meets the workers in a ring each way, so that
// no worker ever makes a system call for Linux's sake.
//
// The TAP is /dev/net/tun itself and not DPDK's net_tap: that driver learns of packets by a signal
// and has to be polled by somebody, where a file descriptor wakes this thread when Linux sends.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <thread>

#include "lb/port.h"

struct rte_mbuf;
struct rte_ring;

namespace crab {

// Packets, since start. Any thread reads; the host thread alone writes.
struct HostPathCounters {
  std::atomic<std::uint64_t> n_to_linux{0};
  std::atomic<std::uint64_t> n_to_linux_drops{0};  // the TAP refused: interface down, no memory
  std::atomic<std::uint64_t> n_from_linux{0};
  std::atomic<std::uint64_t> n_from_linux_drops{0};  // ring full, no buffer, or longer than one
};

class HostPath {
 public:
  HostPath();
  ~HostPath();
  HostPath(const HostPath&) = delete;
  HostPath& operator=(const HostPath&) = delete;

  // Before start(). `tap` stays the caller's, and open until stop() has returned. Throws
  // StartupError when there is no memory for the rings.
  void add(const Port& port, int tap);
  void start();
  // Joins the thread; what is still in the rings is freed. Precondition: the workers have ended.
  void stop();

  rte_ring* to_linux(std::uint16_t port_id) const;    // any worker writes
  rte_ring* from_linux(std::uint16_t port_id) const;  // one worker reads
  const HostPathCounters& counters() const { return counters_; }

 private:
  struct Link {
    const Port& port;
    int tap;
    rte_ring* to_linux;
    rte_ring* from_linux;
  };
  void run();
  unsigned write_to_linux(const Link& link);
  void write_frame(const Link& link, const rte_mbuf* buffer);
  unsigned read_from_linux(const Link& link);
  rte_mbuf* read_frame(const Link& link, bool& more);

  std::deque<Link> links_;  // fixed once the thread runs
  int wake_;                // an eventfd: stop() writes, the thread polls
  std::atomic<bool> stop_{false};
  HostPathCounters counters_;
  std::thread thread_;
};

}  // namespace crab
