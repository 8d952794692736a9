// SPDX-License-Identifier: Apache-2.0
// One mTLS connection: the handshake, and then bytes between the client and a socket pair whose
// other end gRPC has. TLS ends here and not in gRPC, because gRPC 1.51 can neither keep the old
// certificate when a new one is bad nor say why a handshake failed; and so that TLS and Unix peers
// are told apart in one way (control/identity/connections.h).
#pragma once

#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include "control/identity/access_counters.h"
#include "control/identity/caller.h"
#include "control/identity/tls_files.h"

namespace crab {

// Runs in one thread, and lives until both directions have ended.
class TlsSession : public std::enable_shared_from_this<TlsSession> {
 public:
  struct Handlers {
    // The peer has proved who it is, and hands over gRPC's end of the pair: the callee owns fd.
    std::function<void(int fd, Caller caller)> on_ready;
    std::function<void(ConnectionRefusal why)> on_refused;
    std::function<void()> on_end;  // in any case, once, last
  };

  static constexpr std::chrono::seconds kHandshakeTimeout{10};

  TlsSession(boost::asio::ip::tcp::socket socket, std::shared_ptr<TlsMaterial> material,
             Handlers handlers);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  void start(std::chrono::milliseconds handshake_timeout = kHandshakeTimeout);

 private:
  using Buffer = std::array<char, 16'384>;  // a TLS record's most, RFC 8446, 5.1

  void finish_handshake(const boost::system::error_code& error);
  ConnectionRefusal why_refused(const boost::system::error_code& error);
  void refuse(ConnectionRefusal why);
  // Reads on until the client closes: closing with bytes unread would reset the connection, and the
  // client would not read the alert that says why.
  void discard();
  void connect_inside();
  void read_outside();
  void read_inside();
  // gRPC has closed its end: says so to the client before the socket is closed.
  void say_goodbye();
  void close();

  std::shared_ptr<TlsMaterial> material_;  // before the stream, which uses it
  boost::asio::ssl::stream<boost::asio::ip::tcp::socket> outside_;
  boost::asio::local::stream_protocol::socket inside_;
  boost::asio::steady_timer timer_;
  const Handlers handlers_;
  bool timed_out_ = false;
  Buffer from_outside_;
  Buffer from_inside_;
};

}  // namespace crab
