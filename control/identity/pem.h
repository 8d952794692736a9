// SPDX-License-Identifier: Apache-2.0
// Certificates and keys from PEM files, each failure as one line that names the file.
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace crab {

struct X509Free {
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
using X509Ptr = std::unique_ptr<X509, X509Free>;
using KeyPtr = std::unique_ptr<EVP_PKEY, X509Free>;

// A certificate with the intermediate ones after it, and its key.
struct KeyPair {
  std::vector<X509Ptr> chain;  // not empty
  KeyPtr key;
};

// `field` (control.tls.key, --key) is how errors call the file. They throw std::runtime_error:
// "FIELD: PATH cannot be read: No such file or directory". At most 1 MiB is read.
std::string read_pem_file(const std::string& field, const std::string& path);
std::vector<X509Ptr> read_certificates(const std::string& field, const std::string& path);
KeyPtr read_key(const std::string& field, const std::string& path);
// Throws too if the two do not belong together.
KeyPair read_key_pair(const std::string& certificate_field, const std::string& certificate,
                      const std::string& key_field, const std::string& key);

std::chrono::system_clock::time_point not_before(const X509& certificate);
std::chrono::system_clock::time_point not_after(const X509& certificate);
// Of the first that expires.
std::chrono::system_clock::time_point first_not_after(const std::vector<X509Ptr>& certificates);
// 2026-11-21T13:50:00Z
std::string in_utc(std::chrono::system_clock::time_point time);

// The oldest of OpenSSL's errors of this thread, in its words; clears them.
std::string openssl_error();

}  // namespace crab
