// SPDX-License-Identifier: Apache-2.0
// The UDP sockets that agents' load reports come by. Control strand only.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/ip/udp.hpp>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "control/socket_address.h"

namespace crab {

class LoadReceiver {
 public:
  using Receive = std::function<void(std::span<const std::uint8_t> datagram)>;
  using Drained = std::function<void()>;

  // Listens at these addresses, on the executor of the strand. `receive` gets each datagram,
  // `drained` follows each round of them. Throws std::runtime_error, one line for the operator, if
  // an address cannot be had.
  LoadReceiver(boost::asio::any_io_executor strand, const std::vector<SocketAddress>& listen,
               Receive receive, Drained drained);
  ~LoadReceiver();
  LoadReceiver(const LoadReceiver&) = delete;
  LoadReceiver& operator=(const LoadReceiver&) = delete;

  // Takes what has arrived by now.
  void drain();

 private:
  using Socket = boost::asio::ip::udp::socket;
  struct Buffers;

  void wait(Socket& socket);
  // Returns whether more may be waiting than one round takes.
  bool drain_round(Socket& socket);

  const Receive receive_;
  const Drained drained_;
  std::unique_ptr<Buffers> buffers_;
  std::vector<std::unique_ptr<Socket>> sockets_;
};

}  // namespace crab
