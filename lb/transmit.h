// SPDX-License-Identifier: Apache-2.0
// The last stage: each packet of a burst goes where its verdict says, and none is left. Worker
// only.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "lb/counters.h"
#include "lb/packet.h"

struct rte_mbuf;
struct rte_ring;

namespace crab {

class Transmit {
 public:
  // `queue` is the worker's own on every port.
  explicit Transmit(std::uint16_t queue) : queue_(queue) {}

  // The ring by which Linux gets what came in on a port. Before the worker starts.
  void set_host_ring(std::uint16_t port_id, rte_ring* ring) { host_rings_[port_id] = ring; }

  // Redirected packets leave by their egress port, answers by the port they came in on, Host
  // packets through that port's ring; the rest is freed. packets[i] describes buffers[i], which is
  // made to follow it. What a port or a ring refuses is freed with the verdict TxFull or HostFull.
  void send(std::span<Packet> packets, rte_mbuf* const* buffers);

  // Linux's own packets to the wire; counts them, and those that the port refuses.
  void send_from_host(std::uint16_t port_id, std::span<rte_mbuf*> buffers, WorkerTotals& totals);

 private:
  // What waits for one port or ring within one burst; empty between two calls of send().
  struct Batch {
    std::array<rte_mbuf*, kMaxBurst> buffers;
    std::array<std::uint8_t, kMaxBurst> index;  // into packets
    unsigned n = 0;

    void add(rte_mbuf* buffer, unsigned i) {
      buffers[n] = buffer;
      index[n++] = static_cast<std::uint8_t>(i);
    }
  };
  void flush_port(std::uint16_t port_id, std::span<Packet> packets);
  void flush_host(std::uint16_t port_id, std::span<Packet> packets);

  std::uint16_t queue_;
  std::array<rte_ring*, kMaxPorts> host_rings_{};
  std::array<Batch, kMaxPorts> to_port_;
  std::array<Batch, kMaxPorts> to_host_;
};

}  // namespace crab
