// SPDX-License-Identifier: Apache-2.0
#include "control/identity/tls_session.h"

#include <openssl/ssl.h>
#include <openssl/sslerr.h>
#include <unistd.h>

#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/write.hpp>
#include <utility>

namespace crab {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr std::chrono::seconds kGoodbyeTimeout{1};

}  // namespace

TlsSession::TlsSession(asio::ip::tcp::socket socket, std::shared_ptr<TlsMaterial> material,
                       Handlers handlers)
    : material_(std::move(material)),
      outside_(std::move(socket), material_->context),
      inside_(outside_.get_executor()),
      timer_(outside_.get_executor()),
      handlers_(std::move(handlers)) {}

TlsSession::~TlsSession() { handlers_.on_end(); }

void TlsSession::start(std::chrono::milliseconds handshake_timeout) {
  timer_.expires_after(handshake_timeout);
  timer_.async_wait([self = shared_from_this()](const error_code& error) {
    if (error) return;
    self->timed_out_ = true;
    self->close();
  });
  outside_.async_handshake(
      asio::ssl::stream_base::server,
      [self = shared_from_this()](const error_code& error) { self->finish_handshake(error); });
}

void TlsSession::finish_handshake(const error_code& error) {
  timer_.cancel();
  if (error || timed_out_) return refuse(why_refused(error));
  connect_inside();
}

ConnectionRefusal TlsSession::why_refused(const error_code& error) {
  if (timed_out_) return ConnectionRefusal::Timeout;
  switch (SSL_get_verify_result(outside_.native_handle())) {
    case X509_V_OK:
      break;
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return ConnectionRefusal::Expired;
    default:
      return ConnectionRefusal::Untrusted;
  }
  const bool is_ssl = error.category() == asio::error::get_ssl_category();
  if (is_ssl && ERR_GET_REASON(static_cast<unsigned long>(error.value())) ==
                    SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
    return ConnectionRefusal::NoCertificate;
  }
  return ConnectionRefusal::NoTls;
}

void TlsSession::refuse(ConnectionRefusal why) {
  handlers_.on_refused(why);
  error_code error;
  outside_.lowest_layer().shutdown(asio::ip::tcp::socket::shutdown_send, error);
  if (error) return close();
  timer_.expires_after(kGoodbyeTimeout);
  timer_.async_wait([self = shared_from_this()](const error_code& expired) {
    if (!expired) self->close();
  });
  discard();
}

void TlsSession::discard() {
  outside_.next_layer().async_read_some(
      asio::buffer(from_outside_),
      [self = shared_from_this()](const error_code& error, std::size_t) {
        if (!error) return self->discard();
        self->timer_.cancel();
        self->close();
      });
}

void TlsSession::connect_inside() {
  // Without ALPN OpenSSL asks nobody: a client that offers no protocol speaks no HTTP/2.
  const unsigned char* protocol = nullptr;
  unsigned int length = 0;
  SSL_get0_alpn_selected(outside_.native_handle(), &protocol, &length);
  if (length == 0) return refuse(ConnectionRefusal::NoTls);
  asio::local::stream_protocol::socket other(outside_.get_executor());
  error_code error;
  asio::local::connect_pair(inside_, other, error);
  if (!error) other.non_blocking(true, error);
  if (error) return refuse(ConnectionRefusal::FdLimit);
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(
      SSL_get1_peer_certificate(outside_.native_handle()), X509_free);
  Caller caller = certificate ? certificate_caller(*certificate) : Caller{};
  const int fd = other.release(error);
  if (error) return refuse(ConnectionRefusal::FdLimit);
  handlers_.on_ready(fd, std::move(caller));
  read_outside();
  read_inside();
}

void TlsSession::read_outside() {
  outside_.async_read_some(asio::buffer(from_outside_),
                           [self = shared_from_this()](const error_code& error, std::size_t n) {
                             if (error) return self->close();
                             asio::async_write(self->inside_, asio::buffer(self->from_outside_, n),
                                               [self](const error_code& failure, std::size_t) {
                                                 if (!failure) self->read_outside();
                                                 // Else read_inside() finds out, and says goodbye.
                                               });
                           });
}

void TlsSession::read_inside() {
  inside_.async_read_some(asio::buffer(from_inside_),
                          [self = shared_from_this()](const error_code& error, std::size_t n) {
                            if (error) return self->say_goodbye();
                            asio::async_write(self->outside_, asio::buffer(self->from_inside_, n),
                                              [self](const error_code& failure, std::size_t) {
                                                if (failure) return self->close();
                                                self->read_inside();
                                              });
                          });
}

void TlsSession::say_goodbye() {
  if (!outside_.lowest_layer().is_open()) return;
  timer_.expires_after(kGoodbyeTimeout);
  timer_.async_wait([self = shared_from_this()](const error_code& error) {
    if (!error) self->close();
  });
  outside_.async_shutdown([self = shared_from_this()](const error_code&) {
    self->timer_.cancel();
    self->close();
  });
}

void TlsSession::close() {
  error_code ignored;
  outside_.lowest_layer().close(ignored);
  inside_.close(ignored);
}

}  // namespace crab
