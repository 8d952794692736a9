// SPDX-License-Identifier: Apache-2.0
// The way into the control service: its listeners and their connections, each with a caller, until
// gRPC has it. Has a thread of its own, so that neither a slow change on the control strand nor a
// slow handshake keeps others waiting.
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "control/identity/access_counters.h"
#include "control/identity/connections.h"
#include "control/identity/gate.h"
#include "control/identity/roles.h"
#include "control/identity/tls_files.h"
#include "control/listener.h"
#include "crab/v1/access.pb.h"
#include "crab/v1/config.pb.h"

namespace crab {

// Open at once, over all listeners, handshakes included; docs/api.md states it.
inline constexpr std::size_t kMaxConnections = 8'192;

class Entrance {
 public:
  // Takes over a socket: gives it to gRPC. Called by the entrance's thread.
  using HandOver = std::function<void(int fd, const Caller& caller)>;

  // Opens the sockets and reads the certificates. Throws std::runtime_error with one line.
  explicit Entrance(const v1::Control& control);
  ~Entrance();
  Entrance(const Entrance&) = delete;
  Entrance& operator=(const Entrance&) = delete;

  // Who may call what; as long as *this lives.
  const Gate& gate() const { return gate_; }
  const Authorizer& authorizer() const { return authorizer_; }

  // Accepts from now on. The thread inherits the caller's CPU affinity.
  void start(HandOver hand_over);
  // Accepts no more, and removes Unix sockets; TLS connections go on. Once it returns, hand_over is
  // not called any more.
  void stop_accepting();
  // Ends TLS connections too, and the thread. The destructor calls both.
  void stop();

  // Any thread.
  v1::GetAccessResponse describe() const;

 private:
  struct Door {
    Door(std::string configured, ListenAddress parsed)
        : text(std::move(configured)), address(std::move(parsed)) {}
    const std::string text;  // as in control.listen
    const ListenAddress address;
    ListenerCounters counters;
    gid_t group = 0;  // of the Unix socket
    std::unique_ptr<Listener> listener;
  };

  void accept(Door* door, int fd);
  void accept_tls(Door* door, int fd);
  void hand_over(Door* door, int fd, Caller caller);
  // Has a place for one more?
  bool admits_another();
  void refresh_certificates();

  const v1::Control control_;
  const Authorizer authorizer_;
  Connections connections_;
  DeniedCalls denied_;
  const Gate gate_;
  std::optional<TlsFiles> tls_;
  std::deque<Door> doors_;
  HandOver hand_over_;
  // The thread's.
  bool accepting_ = false;
  std::size_t n_tls_ = 0;   // sessions, handshakes included
  std::size_t n_open_ = 0;  // no fewer than there are, as of the last count

  boost::asio::io_context io_{1};  // last but its users: sessions in it use what is above
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
      io_.get_executor()};
  boost::asio::steady_timer refresh_timer_{io_};
  std::thread thread_;
};

}  // namespace crab
