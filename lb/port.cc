// SPDX-License-Identifier: Apache-2.0
#include "lb/port.h"

#include <fmt/format.h>
#include <linux/if_packet.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "lb/eal.h"
#include "lb/packet.h"

namespace crab {

namespace {

constexpr std::uint16_t kRxDescriptors = 1024;
constexpr std::uint16_t kTxDescriptors = 1024;
constexpr unsigned kBufferCache = 256;        // per worker
constexpr std::uint32_t kFrameOverhead = 22;  // Ethernet, one VLAN tag, FCS

// net_af_packet's ring frames have room for what TSO makes of 64 KiB, since a virtual peer hands
// that over unsplit, and for reassembled IPv4 datagrams: the driver sets PACKET_FANOUT_FLAG_DEFRAG.
// The driver cuts, without a word, what does not fit. 65,408 bytes less TPACKET_V2's headers are
// the most that fits into an mbuf; 32 frames fill a block of whole pages. So the rings take
// 2 * 256 * 64 KiB of kernel memory for each worker.
constexpr std::uint32_t kAfPacketFrame = 65'408;
constexpr std::uint32_t kAfPacketBlock = 32 * kAfPacketFrame;
constexpr std::uint32_t kAfPacketFrames = 256;
// What the driver takes off a frame for headers.
constexpr std::uint32_t kAfPacketHeader = TPACKET2_HDRLEN - sizeof(sockaddr_ll);
static_assert(kAfPacketBlock % 4096 == 0 &&
              kAfPacketFrame - kAfPacketHeader + RTE_PKTMBUF_HEADROOM <= UINT16_MAX);
// Buffers of that size are dear, and this driver holds none: it copies.
constexpr unsigned kAfPacketBufferCache = 64;

// The value of `key` in "name,key=value,..."; empty if it is not there.
std::string_view vdev_argument(std::string_view vdev, std::string_view key) {
  for (std::size_t comma = vdev.find(','); comma != std::string_view::npos;
       comma = vdev.find(',', comma + 1)) {
    std::string_view rest = vdev.substr(comma + 1);
    rest = rest.substr(0, rest.find(','));
    if (rest.starts_with(key) && rest.substr(key.size()).starts_with('=')) {
      return rest.substr(key.size() + 1);
    }
  }
  return {};
}

void complete_af_packet(PortPlan& plan, unsigned n_workers) {
  const std::string_view interface = vdev_argument(plan.vdev, "iface");
  if (interface.empty()) {
    throw StartupError(
        fmt::format("vdev: {} names no interface: {},iface=eth1", plan.vdev, plan.device));
  }
  plan.kernel_interface = interface;
  for (const char* ours : {"qpairs", "framesz", "blocksz", "framecnt"}) {
    if (!vdev_argument(plan.vdev, ours).empty()) {
      throw StartupError(
          fmt::format("vdev: {}: remove {}=: crab-lb sets it itself", plan.vdev, ours));
    }
  }
  plan.vdev += fmt::format(",qpairs={},framesz={},blocksz={},framecnt={}", n_workers,
                           kAfPacketFrame, kAfPacketBlock, kAfPacketFrames);
}

// Receive-side scaling hashes addresses and TCP ports, so that all packets of one 5-tuple meet
// the same worker, which remembers its SYN.
std::uint64_t choose_rss(const PortPlan& plan, const rte_eth_dev_info& info) {
  constexpr std::uint64_t kWanted = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP;
  constexpr std::uint64_t kNeeded4 = RTE_ETH_RSS_NONFRAG_IPV4_TCP;
  constexpr std::uint64_t kNeeded6 = RTE_ETH_RSS_NONFRAG_IPV6_TCP;
  const std::uint64_t offered = info.flow_type_rss_offloads & kWanted;
  if ((offered & kNeeded4) == 0 || (offered & kNeeded6) == 0) {
    throw StartupError(
        fmt::format("{} ({}) has no RSS over TCP of IPv4 and IPv6, which several workers need: "
                    "name one worker in dataplane.workers",
                    plan.device, info.driver_name));
  }
  return offered;
}

[[noreturn]] void fail(const PortPlan& plan, std::string_view what, int error) {
  const std::string dpdk = Eal::last_error();
  throw StartupError(fmt::format("port {}: {}: {}{}{}", plan.device, what,
                                 rte_strerror(std::abs(error)), dpdk.empty() ? "" : "; ", dpdk));
}

}  // namespace

PortPlan plan_port(const v1::Port& port, unsigned index, unsigned n_workers) {
  PortPlan plan;
  plan.mtu = port.mtu() == 0 ? kDefaultMtu : static_cast<std::uint16_t>(port.mtu());
  plan.host_interface =
      port.host_interface().empty() ? fmt::format("crab{}", index) : port.host_interface();
  if (port.has_pci()) {
    plan.device = port.pci();
  } else {
    plan.vdev = port.vdev();
    plan.device = plan.vdev.substr(0, plan.vdev.find(','));
    plan.driver = plan.device.substr(0, plan.device.find_last_not_of("0123456789") + 1);
    if (plan.driver == "net_af_packet" || plan.driver == "eth_af_packet") {
      complete_af_packet(plan, n_workers);
    }
  }
  plan.complete_checksums = port.checksum() == v1::CHECKSUM_COMPLETE ||
                            (port.checksum() == v1::CHECKSUM_UNSPECIFIED && !plan.is_pci());
  return plan;
}

Port::Port(PortPlan plan, unsigned n_workers) : plan_(std::move(plan)) {
  if (rte_eth_dev_get_port_by_name(plan_.device.c_str(), &id_) != 0) {
    const std::string dpdk = Eal::last_error();
    throw StartupError(fmt::format("no DPDK driver took {}{}{}; --log-level debug shows more",
                                   plan_.device, dpdk.empty() ? "" : ": ", dpdk));
  }
  if (id_ >= kMaxPorts) {
    throw StartupError(
        fmt::format("more than {} ports; {} is one too many", kMaxPorts, plan_.device));
  }
  rte_ether_addr mac;
  if (const int error = rte_eth_macaddr_get(id_, &mac); error != 0) {
    fail(plan_, "MAC address", error);
  }
  std::copy_n(mac.addr_bytes, mac_.size(), mac_.begin());
  make_buffers(n_workers);
  try {
    configure(n_workers);
  } catch (...) {
    rte_mempool_free(buffers_);
    throw;
  }
}

void Port::make_buffers(unsigned n_workers) {
  // What can be held at one time: the driver's descriptor rings, both rings of the host path, and
  // what each worker has in its cache and in hand. The host thread holds one burst.
  const bool copies = !plan_.kernel_interface.empty();
  const unsigned cache = copies ? kAfPacketBufferCache : kBufferCache;
  const unsigned descriptors = copies ? 0U : kRxDescriptors + kTxDescriptors;
  const unsigned n = n_workers * (descriptors + cache * 3 / 2 + kMaxBurst) +
                     2 * plan_.host_ring_entries() + kMaxBurst;
  const std::uint32_t frame =
      copies ? kAfPacketFrame - kAfPacketHeader : std::max(plan_.mtu + kFrameOverhead, 2048U);
  const auto room = static_cast<std::uint16_t>(frame + RTE_PKTMBUF_HEADROOM);
  // Relaxed tail synchronisation: the host thread uses the pool too and may be preempted inside
  // it, and a worker must not spin until it runs again.
  buffers_ =
      rte_pktmbuf_pool_create_by_ops(("crab_" + plan_.host_interface).c_str(), n, kBufferCache, 0,
                                     room, rte_eth_dev_socket_id(id_), "ring_mt_rts");
  if (buffers_ == nullptr) {
    throw StartupError(fmt::format(
        "port {}: no memory for {} buffers of {} bytes ({} MiB): raise dataplane.memory_mib, or "
        "reserve more hugepages",
        plan_.device, n, room, (std::uint64_t{n} * (room + 192U) >> 20) + 1));
  }
}

void Port::configure(unsigned n_workers) {
  rte_eth_dev_info info;
  if (const int error = rte_eth_dev_info_get(id_, &info); error != 0) fail(plan_, "info", error);
  if (info.max_rx_queues < n_workers || info.max_tx_queues < n_workers) {
    throw StartupError(fmt::format(
        "{} ({}) has {} receive and {} transmit queues, and {} workers need one each: name fewer "
        "in dataplane.workers",
        plan_.device, info.driver_name, info.max_rx_queues, info.max_tx_queues, n_workers));
  }
  rte_eth_conf settings{};
  // net_af_packet declares standard frames as its limit and does not look at it; its interface
  // got the MTU from KernelSide.
  settings.rxmode.mtu =
      plan_.kernel_interface.empty() ? plan_.mtu : std::min(plan_.mtu, kDefaultMtu);
  if (!plan_.complete_checksums) {
    settings.rxmode.offloads = info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_CHECKSUM;
  }
  settings.txmode.offloads = info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
  // The queue pairs of net_af_packet get their packets by the kernel's own hash.
  if (n_workers > 1 && plan_.kernel_interface.empty()) {
    settings.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    settings.rx_adv_conf.rss_conf.rss_hf = choose_rss(plan_, info);
  }
  const auto n_queues = static_cast<std::uint16_t>(n_workers);
  if (const int error = rte_eth_dev_configure(id_, n_queues, n_queues, &settings); error != 0) {
    fail(plan_, fmt::format("{} queues, MTU {}", n_queues, plan_.mtu), error);
  }
  std::uint16_t n_rx = kRxDescriptors;
  std::uint16_t n_tx = kTxDescriptors;
  if (const int error = rte_eth_dev_adjust_nb_rx_tx_desc(id_, &n_rx, &n_tx); error != 0) {
    fail(plan_, "descriptors", error);
  }
  const auto socket = static_cast<unsigned>(std::max(rte_eth_dev_socket_id(id_), 0));
  for (std::uint16_t queue = 0; queue < n_queues; ++queue) {
    if (const int error = rte_eth_rx_queue_setup(id_, queue, n_rx, socket, nullptr, buffers_);
        error != 0) {
      fail(plan_, "receive queue", error);
    }
    if (const int error = rte_eth_tx_queue_setup(id_, queue, n_tx, socket, nullptr); error != 0) {
      fail(plan_, "transmit queue", error);
    }
  }
  if (const int error = rte_eth_dev_start(id_); error != 0) fail(plan_, "start", error);
  // Neighbour solicitations go to multicast addresses that only Linux knows of; what has no such
  // filter says ENOTSUP.
  if (const int error = rte_eth_allmulticast_enable(id_); error != 0 && error != -ENOTSUP) {
    fail(plan_, "all multicast", error);
  }
}

Port::~Port() {
  rte_eth_dev_stop(id_);
  rte_eth_dev_close(id_);
  rte_mempool_free(buffers_);
}

bool Port::link_is_up() const {
  // net_af_packet of DPDK 22.11 says "up" from start to stop, whatever its interface does.
  if (!plan_.kernel_interface.empty()) return KernelSide::is_running(plan_.kernel_interface);
  rte_eth_link link;
  return rte_eth_link_get_nowait(id_, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

std::uint64_t Port::n_missed() const {
  rte_eth_stats stats;
  if (rte_eth_stats_get(id_, &stats) != 0) return 0;
  return stats.imissed + stats.rx_nombuf + stats.ierrors;
}

}  // namespace crab
