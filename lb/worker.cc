// SPDX-License-Identifier: Apache-2.0
#include "lb/worker.h"

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_pause.h>
#include <rte_ring.h>
#include <sys/prctl.h>
#include <time.h>

#include <algorithm>
#include <array>

namespace crab {

namespace {

// Idle mode SLEEP. The longest sleep is far below a millisecond, so the worker stays online: a
// publish waits for it no longer than that.
constexpr std::uint32_t kEmptyPollsBeforeSleep = 256;
constexpr std::int64_t kFirstSleepNs = 20'000;
constexpr std::int64_t kLongestSleepNs = 200'000;
// Idle mode POLL shows its empty polls to readers once in so many.
constexpr std::uint32_t kEmptyPollsBeforePublish = 1U << 16;

bool checksum_is_bad(const rte_mbuf& buffer) {
  return (buffer.ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_BAD ||
         (buffer.ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_BAD;
}

// A chain that does not fit into its first buffer keeps its chain: the pipeline then sees the
// first segment alone, which is enough for everything but TCP to a service, and that is truncated.
Packet describe(rte_mbuf* buffer) {
  if (buffer->nb_segs > 1) rte_pktmbuf_linearize(buffer);
  Packet packet;
  packet.data = rte_pktmbuf_mtod(buffer, std::uint8_t*);
  packet.length = buffer->data_len;
  packet.headroom = rte_pktmbuf_headroom(buffer);
  packet.ingress_port = buffer->port;
  packet.nic_checksum_bad = checksum_is_bad(*buffer);
  return packet;
}

}  // namespace

Worker::Worker(const WorkerSettings& settings, Publisher& publisher, WorkerCounters& counters)
    : index_(settings.index),
      sleep_when_idle_(settings.sleep_when_idle),
      ports_(settings.ports),
      publisher_(publisher),
      counters_(counters),
      pipeline_(settings.pipeline, counters),
      transmit_(static_cast<std::uint16_t>(settings.index)) {
  for (const WorkerPort& port : ports_) transmit_.set_host_ring(port.port_id, port.to_host);
}

void Worker::run() {
  // The default slack of 50 us would more than double the first sleeps.
  prctl(PR_SET_TIMERSLACK, 1UL);
  publisher_.online(index_);
  while (!stop_.load(std::memory_order_relaxed)) {
    unsigned n = 0;
    for (const WorkerPort& port : ports_) {
      n += poll(port);
      if (port.from_host != nullptr) n += drain_host(port);
    }
    publisher_.quiescent(index_);
    if (n == 0) {
      idle();
    } else {
      n_empty_ = 0;
    }
  }
  publisher_.offline(index_);
  counters_.publish();
}

unsigned Worker::poll(const WorkerPort& port) {
  std::array<rte_mbuf*, kMaxBurst> buffers;
  const unsigned n =
      rte_eth_rx_burst(port.port_id, static_cast<std::uint16_t>(index_), buffers.data(), kMaxBurst);
  if (n == 0) return 0;

  ++counters_.pending().n_bursts;
  std::array<Packet, kMaxBurst> storage;
  const std::span packets(storage.data(), n);
  for (unsigned i = 0; i < n; ++i) packets[i] = describe(buffers[i]);
  pipeline_.process(*publisher_.current(), packets, rte_rdtsc());
  transmit_.send(packets, buffers.data());
  pipeline_.account(packets);
  return n;
}

unsigned Worker::drain_host(const WorkerPort& port) {
  std::array<rte_mbuf*, kMaxBurst> buffers;
  const unsigned n = rte_ring_dequeue_burst(
      port.from_host, reinterpret_cast<void**>(buffers.data()), kMaxBurst, nullptr);
  if (n == 0) return 0;
  transmit_.send_from_host(port.port_id, std::span(buffers.data(), n), counters_.pending());
  counters_.publish();
  return n;
}

void Worker::idle() {
  ++counters_.pending().n_empty_polls;
  ++n_empty_;
  if (!sleep_when_idle_) {
    if (n_empty_ % kEmptyPollsBeforePublish == 0) counters_.publish();
    rte_pause();
    return;
  }
  if (n_empty_ < kEmptyPollsBeforeSleep) {
    sleep_ns_ = kFirstSleepNs;
    rte_pause();
    return;
  }
  counters_.publish();
  const timespec duration{0, sleep_ns_};
  clock_nanosleep(CLOCK_MONOTONIC, 0, &duration, nullptr);
  sleep_ns_ = std::min(sleep_ns_ * 2, kLongestSleepNs);
}

}  // namespace crab
