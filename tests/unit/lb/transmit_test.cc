// SPDX-License-Identifier: Apache-2.0
// What only full rings and queues bring about, on a net_ring port, which hands back what it is
// sent.
#include "lb/transmit.h"

#include <gtest/gtest.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include <algorithm>
#include <vector>

namespace crab {
namespace {

constexpr unsigned kPoolSize = 4095;
constexpr unsigned kHostRing = 16;  // holds one fewer

class TransmitTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    pool_ = rte_pktmbuf_pool_create("transmit", kPoolSize, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE,
                                    SOCKET_ID_ANY);
    ASSERT_NE(pool_, nullptr);
    ASSERT_EQ(rte_eal_hotplug_add("vdev", "net_ring_transmit", ""), 0);
    ASSERT_EQ(rte_eth_dev_get_port_by_name("net_ring_transmit", &port_), 0);
    const rte_eth_conf settings{};
    ASSERT_EQ(rte_eth_dev_configure(port_, 1, 1, &settings), 0);
    ASSERT_EQ(rte_eth_rx_queue_setup(port_, 0, 512, 0, nullptr, pool_), 0);
    ASSERT_EQ(rte_eth_tx_queue_setup(port_, 0, 512, 0, nullptr), 0);
    ASSERT_EQ(rte_eth_dev_start(port_), 0);
  }
  static void TearDownTestSuite() {
    rte_eth_dev_stop(port_);
    rte_eth_dev_close(port_);
    rte_mempool_free(pool_);
  }

  void SetUp() override {
    host_ = rte_ring_create("transmit_host", kHostRing, SOCKET_ID_ANY, 0);
    ASSERT_NE(host_, nullptr);
    transmit_.set_host_ring(port_, host_);
  }
  void TearDown() override {
    for (void* buffer = nullptr; rte_ring_dequeue(host_, &buffer) == 0;) {
      rte_pktmbuf_free(static_cast<rte_mbuf*>(buffer));
    }
    rte_ring_free(host_);
    receive_all();
    EXPECT_EQ(rte_mempool_avail_count(pool_), kPoolSize) << "a buffer was lost";
  }

  // One burst of n packets with that verdict; what became of them.
  std::vector<Verdict> send(Verdict verdict, unsigned n) {
    std::vector<rte_mbuf*> buffers(n);
    std::vector<Packet> packets(n);
    for (unsigned i = 0; i < n; ++i) {
      buffers[i] = rte_pktmbuf_alloc(pool_);
      packets[i].data = reinterpret_cast<std::uint8_t*>(rte_pktmbuf_append(buffers[i], 60));
      packets[i].length = 60;
      packets[i].verdict = verdict;
      packets[i].ingress_port = packets[i].egress_port = port_;
    }
    transmit_.send(packets, buffers.data());
    std::vector<Verdict> verdicts;
    for (const Packet& packet : packets) verdicts.push_back(packet.verdict);
    return verdicts;
  }

  static unsigned receive_all() {
    unsigned n = 0;
    rte_mbuf* buffers[kMaxBurst];
    while (const unsigned got = rte_eth_rx_burst(port_, 0, buffers, kMaxBurst)) {
      rte_pktmbuf_free_bulk(buffers, got);
      n += got;
    }
    return n;
  }

  static inline rte_mempool* pool_ = nullptr;
  static inline std::uint16_t port_ = 0;
  rte_ring* host_ = nullptr;
  Transmit transmit_{0};
};

TEST_F(TransmitTest, EachClassGoesItsWay) {
  send(Verdict::Redirected, 3);
  EXPECT_EQ(receive_all(), 3U);
  send(Verdict::NotSyn, 2);
  EXPECT_EQ(receive_all(), 2U);
  send(Verdict::Host, 4);
  EXPECT_EQ(receive_all(), 0U);
  EXPECT_EQ(rte_ring_count(host_), 4U);
  send(Verdict::Fragment, 5);
  EXPECT_EQ(receive_all(), 0U);
}

TEST_F(TransmitTest, WhatThePortRefusesIsTxFull) {
  std::size_t n_sent = 0;
  std::size_t n_refused = 0;
  for (int burst = 0; burst < 64; ++burst) {  // 2048, and the ring holds fewer
    const auto verdicts = send(Verdict::Redirected, kMaxBurst);
    n_sent += static_cast<std::size_t>(std::ranges::count(verdicts, Verdict::Redirected));
    n_refused += static_cast<std::size_t>(std::ranges::count(verdicts, Verdict::TxFull));
  }
  EXPECT_GT(n_refused, 0U);
  EXPECT_EQ(n_sent + n_refused, 64U * kMaxBurst);
  EXPECT_EQ(receive_all(), n_sent);
}

TEST_F(TransmitTest, WhatTheHostRingRefusesIsHostFull) {
  const auto verdicts = send(Verdict::Host, kMaxBurst);
  EXPECT_EQ(std::ranges::count(verdicts, Verdict::Host), kHostRing - 1);
  EXPECT_EQ(std::ranges::count(verdicts, Verdict::HostFull), kMaxBurst - (kHostRing - 1));
}

TEST_F(TransmitTest, TheBufferFollowsAPacketThatGrewOrShrank) {
  rte_mbuf* buffers[2] = {rte_pktmbuf_alloc(pool_), rte_pktmbuf_alloc(pool_)};
  std::vector<Packet> packets(2);
  for (int i = 0; i < 2; ++i) {
    auto* data = reinterpret_cast<std::uint8_t*>(rte_pktmbuf_append(buffers[i], 60));
    packets[static_cast<std::size_t>(i)].data = data;
    packets[static_cast<std::size_t>(i)].egress_port = port_;
  }
  packets[0].verdict = Verdict::Redirected;  // paper form: eight bytes more, in front
  packets[0].data -= 8;
  packets[0].length = 68;
  packets[1].verdict = Verdict::NotSyn;  // an answer without the options
  packets[1].ingress_port = port_;
  packets[1].length = 54;
  const std::uint8_t* starts[2] = {packets[0].data, packets[1].data};
  transmit_.send(packets, buffers);

  rte_mbuf* received[2];
  ASSERT_EQ(rte_eth_rx_burst(port_, 0, received, 2), 2);
  const std::uint16_t lengths[2] = {68, 54};
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(rte_pktmbuf_mtod(received[i], const std::uint8_t*), starts[i]);
    EXPECT_EQ(received[i]->data_len, lengths[i]);
    EXPECT_EQ(received[i]->pkt_len, lengths[i]);
  }
  rte_pktmbuf_free_bulk(received, 2);
}

TEST_F(TransmitTest, LinuxsOwnPacketsAreCounted) {
  WorkerTotals totals;
  for (int burst = 0; burst < 64; ++burst) {
    std::vector<rte_mbuf*> buffers(kMaxBurst);
    for (auto& buffer : buffers) {
      buffer = rte_pktmbuf_alloc(pool_);
      rte_pktmbuf_append(buffer, 60);
    }
    transmit_.send_from_host(port_, buffers, totals);
  }
  EXPECT_EQ(totals.n_host_to_wire, 64U * kMaxBurst);
  EXPECT_GT(totals.n_host_to_wire_drops, 0U);
  EXPECT_EQ(receive_all(), totals.n_host_to_wire - totals.n_host_to_wire_drops);
}

}  // namespace
}  // namespace crab
