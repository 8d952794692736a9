// SPDX-License-Identifier: Apache-2.0
#include "control/load_receiver.h"

#include <sys/socket.h>

#include <array>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/system/system_error.hpp>
#include <stdexcept>
#include <utility>

#include "kernel_patch/uapi/crab_report.h"

namespace crab {
namespace {

namespace asio = boost::asio;

// Some 20,000 datagrams, or half a second of a large fleet, while the strand publishes.
constexpr int kReceiveBufferBytes = 8 << 20;
// In one call of recvmmsg(2), and calls before other work on the strand gets its turn.
constexpr std::size_t kBatch = 64;
constexpr int kBatchesInRound = 16;
constexpr int kRoundsInDrain = 32;

asio::ip::udp::endpoint to_endpoint(const SocketAddress& at) {
  const auto& bytes = at.address.bytes;
  if (at.address.is_v4()) {
    asio::ip::address_v4::bytes_type four;
    std::copy_n(bytes.begin(), four.size(), four.begin());
    return {asio::ip::address_v4(four), at.port};
  }
  return {asio::ip::address_v6(bytes), at.port};
}

}  // namespace

struct LoadReceiver::Buffers {
  // One byte more than a report can have, so that a longer datagram is not mistaken for one.
  std::array<std::array<std::uint8_t, CRAB_REPORT_MAX_LEN + 1>, kBatch> bytes;
  std::array<iovec, kBatch> vectors{};
  std::array<mmsghdr, kBatch> messages{};

  Buffers() {
    for (std::size_t i = 0; i < kBatch; ++i) {
      vectors[i] = {bytes[i].data(), bytes[i].size()};
      messages[i].msg_hdr.msg_iov = &vectors[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
  }
};

LoadReceiver::LoadReceiver(asio::any_io_executor strand, const std::vector<SocketAddress>& listen,
                           Receive receive, Drained drained)
    : receive_(std::move(receive)),
      drained_(std::move(drained)),
      buffers_(std::make_unique<Buffers>()) {
  for (const auto& address : listen) {
    try {
      const auto endpoint = to_endpoint(address);
      auto socket = std::make_unique<Socket>(strand, endpoint.protocol());
      if (!address.address.is_v4()) socket->set_option(asio::ip::v6_only(true));
      // With CAP_NET_ADMIN beyond net.core.rmem_max; else as much as that allows.
      if (setsockopt(socket->native_handle(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBufferBytes,
                     sizeof kReceiveBufferBytes) != 0) {
        socket->set_option(Socket::receive_buffer_size(kReceiveBufferBytes));
      }
      socket->non_blocking(true);
      socket->bind(endpoint);
      sockets_.push_back(std::move(socket));
    } catch (const boost::system::system_error& e) {
      throw std::runtime_error("load_reports.listen " + address.to_string() +
                               ": cannot listen: " + e.code().message());
    }
  }
  for (const auto& socket : sockets_) wait(*socket);
}

LoadReceiver::~LoadReceiver() = default;

void LoadReceiver::wait(Socket& socket) {
  socket.async_wait(Socket::wait_read, [this, &socket](const boost::system::error_code& error) {
    if (error) return;  // closed
    drain_round(socket);
    wait(socket);
  });
}

void LoadReceiver::drain() {
  for (const auto& socket : sockets_) {
    // Bounded, because they may come faster than they are taken.
    for (int i = 0; i < kRoundsInDrain && drain_round(*socket); ++i) continue;
  }
}

bool LoadReceiver::drain_round(Socket& socket) {
  std::size_t n_total = 0;
  bool full = true;
  for (int i = 0; i < kBatchesInRound && full; ++i) {
    const int n =
        recvmmsg(socket.native_handle(), buffers_->messages.data(), kBatch, MSG_DONTWAIT, nullptr);
    full = n == static_cast<int>(kBatch);
    if (n <= 0) break;
    for (std::size_t k = 0; k < static_cast<std::size_t>(n); ++k) {
      receive_({buffers_->bytes[k].data(), buffers_->messages[k].msg_len});
    }
    n_total += static_cast<std::size_t>(n);
  }
  if (n_total > 0) drained_();
  return full;
}

}  // namespace crab
