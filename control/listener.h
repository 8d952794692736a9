// SPDX-License-Identifier: Apache-2.0
// The sockets of the control API: opened and accepted from by us and not by gRPC, which says
// nothing of its peers and, out of file descriptors, stops to listen for good.
#pragma once

#include <sys/types.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <string>

#include "control/identity/access_counters.h"
#include "control/listen_address.h"

namespace crab {

// Makes the socket's directory if need be (mode 0750) and sees to it that nothing is at the path.
// Throws std::runtime_error, one line with the path, if it is in use, is no socket, or may not be
// made.
void prepare_socket(const std::string& path);

// The owner and the group may connect to a Unix socket.
inline constexpr mode_t kSocketMode = 0660;

// Runs in the io_context's thread, once it is made.
class Listener {
 public:
  // Takes over a connected, non-blocking socket.
  using OnConnection = std::function<void(int fd)>;

  // How long no connection is accepted when there are no file descriptors.
  static constexpr std::chrono::milliseconds kFdPause{100};

  // Opens the socket; connections queue until start(). Throws std::runtime_error with one line.
  // `counters` outlives *this.
  Listener(boost::asio::io_context& io, const ListenAddress& address, ListenerCounters& counters);
  // Removes a Unix socket from the file system, unless another one has taken its place.
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  void start(OnConnection on_connection);
  // Accepts no more. Connections that exist are not concerned.
  void close();

 private:
  void wait();
  void accept_all();
  void pause();

  const ListenAddress address_;
  ListenerCounters& counters_;
  boost::asio::posix::stream_descriptor socket_;
  boost::asio::steady_timer timer_;
  OnConnection on_connection_;
  ino_t inode_ = 0;  // of the Unix socket in the file system
};

}  // namespace crab
