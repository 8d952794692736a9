// SPDX-License-Identifier: Apache-2.0
#include "lb/host_path.h"

#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <vector>

#include "lb/eal.h"
#include "lb/packet.h"

namespace crab {

namespace {

// How long the thread waits for Linux before it looks into the workers' rings again, since those
// cannot wake it. Short while packets come, so that a ping takes tens of microseconds.
constexpr std::int64_t kShortestWaitNs = 10'000;
constexpr std::int64_t kLongestWaitNs = 1'000'000;
constexpr unsigned kMaxSegments = 64;

void bump(std::atomic<std::uint64_t>& counter, std::uint64_t n = 1) {
  counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

rte_ring* make_ring(const std::string& name, unsigned n_entries, unsigned flags) {
  rte_ring* ring = rte_ring_create(name.c_str(), n_entries, SOCKET_ID_ANY, flags);
  if (ring == nullptr) {
    throw StartupError(
        fmt::format("no DPDK memory for the ring {}: raise dataplane.memory_mib", name));
  }
  return ring;
}

void free_ring(rte_ring* ring) {
  void* buffer = nullptr;
  while (rte_ring_dequeue(ring, &buffer) == 0) rte_pktmbuf_free(static_cast<rte_mbuf*>(buffer));
  rte_ring_free(ring);
}

}  // namespace

HostPath::HostPath() : wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (wake_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
}

HostPath::~HostPath() {
  stop();
  close(wake_);
}

void HostPath::add(const Port& port, int tap) {
  const std::string& name = port.plan().host_interface;
  const unsigned n_entries = port.plan().host_ring_entries();
  // Relaxed tail: a worker must not wait for another that was preempted while it queued.
  rte_ring* to = make_ring("to_" + name, n_entries, RING_F_MP_RTS_ENQ | RING_F_SC_DEQ);
  rte_ring* from = nullptr;
  try {
    from = make_ring("from_" + name, n_entries, RING_F_SP_ENQ | RING_F_SC_DEQ);
  } catch (...) {
    rte_ring_free(to);
    throw;
  }
  links_.push_back({port, tap, to, from});
}

void HostPath::start() {
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), "crab-host");
}

void HostPath::stop() {
  if (thread_.joinable()) {
    stop_.store(true, std::memory_order_relaxed);
    eventfd_write(wake_, 1);
    thread_.join();
  }
  for (const Link& link : links_) {
    free_ring(link.to_linux);
    free_ring(link.from_linux);
  }
  links_.clear();
}

rte_ring* HostPath::to_linux(std::uint16_t port_id) const {
  const auto link = std::ranges::find(links_, port_id, [](const Link& l) { return l.port.id(); });
  return link == links_.end() ? nullptr : link->to_linux;
}

rte_ring* HostPath::from_linux(std::uint16_t port_id) const {
  const auto link = std::ranges::find(links_, port_id, [](const Link& l) { return l.port.id(); });
  return link == links_.end() ? nullptr : link->from_linux;
}

void HostPath::run() {
  prctl(PR_SET_TIMERSLACK, 1UL);
  std::vector<pollfd> descriptors;
  for (const Link& link : links_) descriptors.push_back({link.tap, POLLIN, 0});
  descriptors.push_back({wake_, POLLIN, 0});

  std::int64_t wait_ns = kShortestWaitNs;
  while (!stop_.load(std::memory_order_relaxed)) {
    const timespec wait{0, wait_ns};
    if (ppoll(descriptors.data(), descriptors.size(), &wait, nullptr) < 0 && errno != EINTR) {
      spdlog::critical("host path: ppoll: {}", std::generic_category().message(errno));
      return;
    }
    unsigned n = 0;
    for (std::size_t i = 0; i < links_.size(); ++i) {
      n += write_to_linux(links_[i]);
      if ((descriptors[i].revents & POLLIN) != 0) n += read_from_linux(links_[i]);
      if ((descriptors[i].revents & (POLLERR | POLLHUP)) != 0) {
        // Somebody deleted the interface. Forwarding does not need it; each packet that would
        // have gone to Linux counts as a drop from now on.
        spdlog::error("{} is gone: nothing of this port reaches Linux until crab-lb is restarted",
                      links_[i].port.plan().host_interface);
        descriptors[i].fd = -1;
      }
    }
    wait_ns = n > 0 ? kShortestWaitNs : std::min(wait_ns * 2, kLongestWaitNs);
  }
}

unsigned HostPath::write_to_linux(const Link& link) {
  std::array<rte_mbuf*, kMaxBurst> buffers;
  const unsigned n = rte_ring_dequeue_burst(link.to_linux, reinterpret_cast<void**>(buffers.data()),
                                            kMaxBurst, nullptr);
  for (unsigned i = 0; i < n; ++i) write_frame(link, buffers[i]);
  rte_pktmbuf_free_bulk(buffers.data(), n);
  return n;
}

void HostPath::write_frame(const Link& link, const rte_mbuf* buffer) {
  std::array<iovec, kMaxSegments> pieces;
  unsigned n = 0;
  for (const rte_mbuf* piece = buffer; piece != nullptr && n < kMaxSegments; piece = piece->next) {
    pieces[n++] = {rte_pktmbuf_mtod(piece, void*), piece->data_len};
  }
  const bool whole = n == buffer->nb_segs;
  if (whole && writev(link.tap, pieces.data(), static_cast<int>(n)) >= 0) {
    bump(counters_.n_to_linux);
  } else {
    bump(counters_.n_to_linux_drops);
  }
}

unsigned HostPath::read_from_linux(const Link& link) {
  std::array<rte_mbuf*, kMaxBurst> buffers;
  unsigned n = 0;
  bool more = true;
  while (more && n < kMaxBurst) {
    rte_mbuf* buffer = read_frame(link, more);
    if (buffer != nullptr) buffers[n++] = buffer;
  }
  const unsigned n_queued =
      rte_ring_enqueue_burst(link.from_linux, reinterpret_cast<void**>(buffers.data()), n, nullptr);
  bump(counters_.n_from_linux, n_queued);
  bump(counters_.n_from_linux_drops, n - n_queued);
  for (unsigned i = n_queued; i < n; ++i) rte_pktmbuf_free(buffers[i]);
  return n;
}

// nullptr when nothing waits (`more` is then false) or the frame had to be dropped.
rte_mbuf* HostPath::read_frame(const Link& link, bool& more) {
  rte_mbuf* buffer = rte_pktmbuf_alloc(link.port.buffers());
  if (buffer == nullptr) {
    // Take it out all the same: poll() would otherwise return at once for ever.
    std::uint8_t discarded;
    more = read(link.tap, &discarded, 1) >= 0;
    if (more) bump(counters_.n_from_linux_drops);
    return nullptr;
  }
  const std::uint16_t room = rte_pktmbuf_tailroom(buffer);
  const ssize_t length = read(link.tap, rte_pktmbuf_mtod(buffer, void*), room);
  more = length >= 0;
  if (length <= 0 || length >= room) {  // a full buffer may be a cut frame
    if (more) bump(counters_.n_from_linux_drops);
    rte_pktmbuf_free(buffer);
    return nullptr;
  }
  buffer->data_len = static_cast<std::uint16_t>(length);
  buffer->pkt_len = static_cast<std::uint32_t>(length);
  return buffer;
}

}  // namespace crab
