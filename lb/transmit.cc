// SPDX-License-Identifier: Apache-2.0
#include "lb/transmit.h"

#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

namespace crab {

namespace {

// The pipeline worked on the first segment's bytes; makes the buffer agree. What Linux gets
// keeps further segments; nothing else that goes out has any, since no pool of ours has buffers
// shorter than a frame.
void follow(rte_mbuf* buffer, const Packet& packet) {
  if (buffer->nb_segs > 1) {
    if (packet.verdict == Verdict::Host) return;
    rte_pktmbuf_free(buffer->next);
    buffer->next = nullptr;
    buffer->nb_segs = 1;
  }
  const auto* start = rte_pktmbuf_mtod(buffer, const std::uint8_t*);
  buffer->data_off = static_cast<std::uint16_t>(buffer->data_off + (packet.data - start));
  buffer->data_len = static_cast<std::uint16_t>(packet.length);
  buffer->pkt_len = packet.length;
  // The checksums in the packet are whole: nothing is left for a NIC to fill in.
  buffer->ol_flags = 0;
}

}  // namespace

void Transmit::send(std::span<Packet> packets, rte_mbuf* const* buffers) {
  std::uint32_t ports = 0;  // bit sets of the batches in use
  std::uint32_t hosts = 0;
  for (unsigned i = 0; i < packets.size(); ++i) {
    const Packet& packet = packets[i];
    const VerdictClass way = class_of(packet.verdict);
    if (way == VerdictClass::Dropped) {
      rte_pktmbuf_free(buffers[i]);
      continue;
    }
    follow(buffers[i], packet);
    if (way == VerdictClass::Host) {
      to_host_[packet.ingress_port].add(buffers[i], i);
      hosts |= 1U << packet.ingress_port;
      continue;
    }
    const std::uint16_t port =
        way == VerdictClass::Redirected ? packet.egress_port : packet.ingress_port;
    to_port_[port].add(buffers[i], i);
    ports |= 1U << port;
  }
  for (; ports != 0; ports &= ports - 1) {
    flush_port(static_cast<std::uint16_t>(__builtin_ctz(ports)), packets);
  }
  for (; hosts != 0; hosts &= hosts - 1) {
    flush_host(static_cast<std::uint16_t>(__builtin_ctz(hosts)), packets);
  }
}

void Transmit::flush_port(std::uint16_t port_id, std::span<Packet> packets) {
  Batch& batch = to_port_[port_id];
  const auto n = static_cast<std::uint16_t>(batch.n);
  const unsigned n_sent = rte_eth_tx_burst(port_id, queue_, batch.buffers.data(), n);
  for (unsigned k = n_sent; k < n; ++k) {
    rte_pktmbuf_free(batch.buffers[k]);
    packets[batch.index[k]].verdict = Verdict::TxFull;
  }
  batch.n = 0;
}

void Transmit::flush_host(std::uint16_t port_id, std::span<Packet> packets) {
  Batch& batch = to_host_[port_id];
  const unsigned n_queued = rte_ring_enqueue_burst(
      host_rings_[port_id], reinterpret_cast<void**>(batch.buffers.data()), batch.n, nullptr);
  for (unsigned k = n_queued; k < batch.n; ++k) {
    rte_pktmbuf_free(batch.buffers[k]);
    packets[batch.index[k]].verdict = Verdict::HostFull;
  }
  batch.n = 0;
}

void Transmit::send_from_host(std::uint16_t port_id, std::span<rte_mbuf*> buffers,
                              WorkerTotals& totals) {
  const auto n = static_cast<std::uint16_t>(buffers.size());
  const unsigned n_sent = rte_eth_tx_burst(port_id, queue_, buffers.data(), n);
  totals.n_host_to_wire += n;
  totals.n_host_to_wire_drops += n - n_sent;
  for (unsigned k = n_sent; k < n; ++k) rte_pktmbuf_free(buffers[k]);
}

}  // namespace crab
