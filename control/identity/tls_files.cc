// SPDX-License-Identifier: Apache-2.0
#include "control/identity/tls_files.h"

#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "control/identity/caller.h"
#include "control/identity/pem.h"

namespace crab {
namespace {

using Clock = std::chrono::system_clock;

constexpr unsigned char kHttp2[] = {2, 'h', '2'};  // ALPN, RFC 7540, 3.1

// Takes HTTP/2, and nothing else: what is not gRPC has no place here.
int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* length,
                    const unsigned char* offered, unsigned int n_offered, void*) {
  unsigned char* found = nullptr;
  if (SSL_select_next_proto(&found, length, kHttp2, sizeof kHttp2, offered, n_offered) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

void require(bool done, const char* what) {
  if (!done) throw std::runtime_error(std::string("control.tls: ") + what + ": " + openssl_error());
}

void set_up(SSL_CTX* context, const KeyPair& own, const std::vector<X509Ptr>& authorities) {
  require(SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1, "TLS 1.2");
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_alpn_select_cb(context, choose_protocol, nullptr);
  require(SSL_CTX_use_certificate(context, own.chain.front().get()) == 1, "the certificate");
  for (auto one = own.chain.begin() + 1; one != own.chain.end(); ++one) {
    require(SSL_CTX_add1_chain_cert(context, one->get()) == 1, "the certificate's chain");
  }
  require(SSL_CTX_use_PrivateKey(context, own.key.get()) == 1, "the key");
  for (const auto& authority : authorities) {
    require(X509_STORE_add_cert(SSL_CTX_get_cert_store(context), authority.get()) == 1,
            "client_ca");
    require(SSL_CTX_add_client_CA(context, authority.get()) == 1, "client_ca");
  }
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
}

}  // namespace

std::shared_ptr<TlsMaterial> load_tls(const v1::ControlTls& tls) {
  const KeyPair own =
      read_key_pair("control.tls.certificate", tls.certificate(), "control.tls.key", tls.key());
  X509* leaf = own.chain.front().get();
  if (X509_check_purpose(leaf, X509_PURPOSE_SSL_SERVER, 0) != 1) {
    throw std::runtime_error("control.tls.certificate: " + tls.certificate() +
                             " is not for servers, as its extended key usage says");
  }
  const auto authorities = read_certificates("control.tls.client_ca", tls.client_ca());
  auto material = std::make_shared<TlsMaterial>();
  set_up(material->context.native_handle(), own, authorities);
  material->name = certificate_caller(*leaf).identity;
  material->not_before = not_before(*leaf);
  material->not_after = first_not_after(own.chain);
  material->client_ca_not_after = first_not_after(authorities);
  return material;
}

TlsFiles::TlsFiles(const v1::ControlTls& tls) : tls_(tls), tried_(version()) {
  material_ = load_tls(tls_);
  const auto expires = std::min(material_->not_after, material_->client_ca_not_after);
  if (expires < Clock::now()) {
    spdlog::error("control.tls: a certificate has expired at {}: no client will connect",
                  in_utc(expires));
  }
}

TlsFiles::Version TlsFiles::version() const {
  Version version;
  std::size_t i = 0;
  for (const auto* path : {&tls_.certificate(), &tls_.key(), &tls_.client_ca()}) {
    struct stat status {};
    const bool there = stat(path->c_str(), &status) == 0;
    version.parts[i++] = there ? static_cast<std::int64_t>(status.st_ino) : -1;
    version.parts[i++] = status.st_size;
    version.parts[i++] = status.st_mtim.tv_sec;
    version.parts[i++] = status.st_mtim.tv_nsec;
  }
  return version;
}

void TlsFiles::refresh() {
  // Before they are read: what is written meanwhile is another version, and tried again.
  const Version now = version();
  if (now == tried_) return;
  tried_ = now;
  std::string error;
  std::shared_ptr<TlsMaterial> fresh;
  try {
    fresh = load_tls(tls_);
    if (fresh->not_after < Clock::now()) {
      error = "control.tls.certificate: " + tls_.certificate() + " has expired at " +
              in_utc(fresh->not_after);
    } else if (fresh->not_before > Clock::now()) {
      error = "control.tls.certificate: " + tls_.certificate() + " is not valid before " +
              in_utc(fresh->not_before);
      tried_ = {};
    }
  } catch (const std::runtime_error& e) {
    error = e.what();
  }
  const std::scoped_lock lock(mutex_);
  const bool is_news = error != last_error_;
  last_error_ = error;
  if (!error.empty()) {
    if (!is_news) return;
    ++n_failed_;
    spdlog::error("{}; the certificate before it stays in force", error);
    return;
  }
  ++n_reloads_;
  material_ = std::move(fresh);
  spdlog::info("control.tls: certificate {} is in force, until {}", material_->name,
               in_utc(material_->not_after));
}

std::shared_ptr<TlsMaterial> TlsFiles::material() const {
  const std::scoped_lock lock(mutex_);
  return material_;
}

v1::ServerCertificate TlsFiles::describe() const {
  const auto seconds = [](Clock::time_point time) {
    return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
  };
  v1::ServerCertificate description;
  const std::scoped_lock lock(mutex_);
  description.set_name(material_->name);
  description.set_not_after_unix_seconds(seconds(material_->not_after));
  description.set_client_ca_not_after_unix_seconds(seconds(material_->client_ca_not_after));
  const auto first = std::min(material_->not_after, material_->client_ca_not_after);
  description.set_expires_in_seconds(std::chrono::duration<double>(first - Clock::now()).count());
  description.set_reloads(n_reloads_);
  description.set_failed_reloads(n_failed_);
  description.set_last_error(last_error_);
  return description;
}

}  // namespace crab
