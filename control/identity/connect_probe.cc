// SPDX-License-Identifier: Apache-2.0
#include "control/identity/connect_probe.h"

#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "control/identity/caller.h"
#include "control/identity/pem.h"

namespace crab {
namespace {

constexpr timeval kTimeout{.tv_sec = 2, .tv_usec = 0};
constexpr unsigned char kHttp2[] = {2, 'h', '2'};

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }
  void reset(int fd) {
    if (fd_ >= 0) close(fd_);
    fd_ = fd;
  }

 private:
  int fd_;
};

std::string with_remedy(int error, const std::string& server) {
  std::string text = std::strerror(error);
  if (error == EACCES || error == EPERM) {
    return text + "; run as root or as a member of the socket's group";
  }
  if (error == EINPROGRESS || error == EAGAIN) text = "no answer in time";
  return text + "; is crab-lb running, and does its control.listen name " + server +
         "? (--server names another)";
}

std::string probe_unix(const std::string& server) {
  const std::string path = server.substr(std::strlen("unix:"));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return std::strerror(ENAMETOOLONG);
  std::copy(path.begin(), path.end(), address.sun_path);
  const Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return std::strerror(errno);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
    return "";
  return with_remedy(errno, server);
}

// Connects to the first of the host's addresses that answers; why not, if none does.
std::string connect_tcp(const TcpServer& server, Fd* fd) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int failure =
      getaddrinfo(server.host.c_str(), std::to_string(server.port).c_str(), &hints, &list);
  if (failure != 0) return std::string(gai_strerror(failure)) + "; is the host's name right?";
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(list, freeaddrinfo);
  int error = EADDRNOTAVAIL;
  for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
    fd->reset(socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (fd->get() < 0) return std::strerror(errno);
    // connect() heeds the time-out for sending, socket(7).
    setsockopt(fd->get(), SOL_SOCKET, SO_SNDTIMEO, &kTimeout, sizeof kTimeout);
    setsockopt(fd->get(), SOL_SOCKET, SO_RCVTIMEO, &kTimeout, sizeof kTimeout);
    if (connect(fd->get(), one->ai_addr, one->ai_addrlen) == 0) return "";
    error = errno;
  }
  return with_remedy(error, "tcp:" + server.host_and_port());
}

// What the server has said of our certificate, or of TLS at all, by OpenSSL's reason.
std::string why_refused(int reason) {
  switch (reason) {
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
      return "crab-lb finds our certificate (--cert) expired: get a new one, or look at the clocks";
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
      return "crab-lb does not trust who signed our certificate (--cert): its "
             "control.tls.client_ca has to have it";
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
      return "crab-lb wants a client's certificate: --cert and --key";
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
      return "crab-lb refuses our certificate (--cert): is it one for clients (clientAuth)?";
    case SSL_R_WRONG_VERSION_NUMBER:
      return "it speaks no TLS; --insecure is for a crab-lb with control.insecure";
    default:
      return "";
  }
}

std::string why_untrusted(long result, const X509& certificate, const TcpServer& server,
                          const TlsClientOptions& options) {
  const std::string name = certificate_caller(certificate).identity;
  switch (result) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return "crab-lb's certificate (" + name + ") has expired at " +
             in_utc(not_after(certificate)) +
             ": renew the file that its control.tls.certificate names";
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return "crab-lb's certificate (" + name + ") is not valid yet: look at the clocks";
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return "crab-lb's certificate is for " + name + " and not for " +
             (options.server_name.empty() ? server.host : options.server_name) +
             "; --server-name says for whom it has to be";
    default:
      return "crab-lb's certificate (" + name + ") is signed by nobody in " + options.ca +
             ": --ca has to name the file of who signs it (" +
             X509_verify_cert_error_string(result) + ")";
  }
}

struct SslFree {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};

std::unique_ptr<SSL_CTX, SslFree> client_context(const TlsClientOptions& options) {
  std::unique_ptr<SSL_CTX, SslFree> context(SSL_CTX_new(TLS_client_method()));
  const KeyPair own = read_key_pair("--cert", options.certificate, "--key", options.key);
  for (const auto& authority : read_certificates("--ca", options.ca)) {
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), authority.get());
  }
  SSL_CTX_use_certificate(context.get(), own.chain.front().get());
  for (auto one = own.chain.begin() + 1; one != own.chain.end(); ++one) {
    SSL_CTX_add1_chain_cert(context.get(), one->get());
  }
  SSL_CTX_use_PrivateKey(context.get(), own.key.get());
  // The result is looked at afterwards, with the certificate that it is about.
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
  SSL_CTX_set_alpn_protos(context.get(), kHttp2, sizeof kHttp2);
  return context;
}

void expect_name(SSL* ssl, const std::string& name) {
  X509_VERIFY_PARAM* expected = SSL_get0_param(ssl);
  if (X509_VERIFY_PARAM_set1_ip_asc(expected, name.c_str()) == 1) return;
  X509_VERIFY_PARAM_set1_host(expected, name.c_str(), name.size());
  SSL_set_tlsext_host_name(ssl, name.c_str());
}

std::string probe_tls(const TcpServer& server, const TlsClientOptions& options) {
  Fd fd(-1);
  if (const auto why = connect_tcp(server, &fd); !why.empty()) return why;
  const auto context = client_context(options);
  const std::unique_ptr<SSL, SslFree> ssl(SSL_new(context.get()));
  SSL_set_fd(ssl.get(), fd.get());
  const bool by_spiffe = options.server_name.starts_with("spiffe://");
  if (!by_spiffe) {
    expect_name(ssl.get(), options.server_name.empty() ? server.host : options.server_name);
  }
  ERR_clear_error();
  // With TLS 1.3 a server's refusal of our certificate comes after the handshake, where its first
  // words would be.
  char byte = 0;
  const bool shook_hands = SSL_connect(ssl.get()) == 1;
  const std::unique_ptr<X509, X509Free> certificate(SSL_get1_peer_certificate(ssl.get()));
  const long result = SSL_get_verify_result(ssl.get());
  if (certificate && result != X509_V_OK) {
    return why_untrusted(result, *certificate, server, options);
  }
  if (shook_hands && by_spiffe &&
      certificate_caller(*certificate).identity != options.server_name) {
    return why_untrusted(X509_V_ERR_HOSTNAME_MISMATCH, *certificate, server, options);
  }
  if (shook_hands && SSL_read(ssl.get(), &byte, 1) == 1) return "";
  const unsigned long error = ERR_peek_error();
  const std::string why = why_refused(ERR_GET_REASON(error));
  if (!why.empty()) return why;
  return error != 0 ? "TLS: " + openssl_error() : "it closed the connection during the handshake";
}

}  // namespace

std::string why_unreachable(const std::string& server, const TlsClientOptions& options) {
  const auto tcp = parse_tcp_server(server);
  if (!tcp) return probe_unix(server);
  try {
    if (!options.insecure) return probe_tls(*tcp, options);
    Fd fd(-1);
    return connect_tcp(*tcp, &fd);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

}  // namespace crab
