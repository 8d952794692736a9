// SPDX-License-Identifier: Apache-2.0
// crab-lb's own certificate, its key, and the authorities of clients' certificates: read from
// files, checked, and read again when they change. What is in force is replaced only by what is
// good.
#pragma once

#include <sys/stat.h>

#include <array>
#include <boost/asio/ssl/context.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "crab/v1/access.pb.h"
#include "crab/v1/config.pb.h"

namespace crab {

// What new connections are made with. Those that exist keep theirs.
struct TlsMaterial {
  boost::asio::ssl::context context{boost::asio::ssl::context::tls_server};
  std::string name;  // of the certificate, for people
  std::chrono::system_clock::time_point not_before;
  std::chrono::system_clock::time_point not_after;
  std::chrono::system_clock::time_point client_ca_not_after;
};

// Reads and checks the files: TLS 1.2 at least, HTTP/2, a client's certificate required and
// verified, no resumption, so that every connection is verified by the authorities in force. Throws
// std::runtime_error, one line with the field and the file, if one is missing, damaged, or not of
// the others; an expired certificate is no reason.
std::shared_ptr<TlsMaterial> load_tls(const v1::ControlTls& tls);

class TlsFiles {
 public:
  // As load_tls().
  explicit TlsFiles(const v1::ControlTls& tls);

  // Looks whether the files have changed since they were last tried and puts them in force, or
  // counts and logs why not: then also if the certificate has expired, or is not valid yet, which
  // is tried again. One thread.
  void refresh();

  // Any thread.
  std::shared_ptr<TlsMaterial> material() const;
  v1::ServerCertificate describe() const;

 private:
  // Which files they are, and when they were changed.
  struct Version {
    bool operator==(const Version&) const = default;
    std::array<std::int64_t, 12> parts{};
  };
  Version version() const;

  const v1::ControlTls tls_;
  Version tried_;  // refresh()'s thread

  mutable std::mutex mutex_;  // everything below
  std::shared_ptr<TlsMaterial> material_;
  std::uint64_t n_reloads_ = 0;
  std::uint64_t n_failed_ = 0;
  std::string last_error_;
};

}  // namespace crab
