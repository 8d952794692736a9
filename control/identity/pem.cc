// SPDX-License-Identifier: Apache-2.0
#include "control/identity/pem.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <stdexcept>
#include <system_error>

namespace crab {
namespace {

constexpr std::size_t kMaxPemBytes = 1U << 20;

[[noreturn]] void fail(const std::string& field, const std::string& path, const std::string& why) {
  throw std::runtime_error(field + ": " + path + " " + why);
}

struct BioFree {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using BioPtr = std::unique_ptr<BIO, BioFree>;

BioPtr bio_of(const std::string& text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::chrono::system_clock::time_point time_of(const ASN1_TIME* time) {
  tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return {};
  return std::chrono::system_clock::from_time_t(timegm(&parts));
}

// Instead of a question on the terminal.
int no_passphrase(char*, int, int, void*) { return -1; }

}  // namespace

std::string openssl_error() {
  const char* reason = ERR_reason_error_string(ERR_get_error());
  ERR_clear_error();
  return reason != nullptr ? reason : "unknown error";
}

std::string read_pem_file(const std::string& field, const std::string& path) {
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  std::string text(kMaxPemBytes + 1, '\0');
  if (in) in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!in.is_open() || in.bad()) {
    fail(field, path, "cannot be read: " + std::generic_category().message(errno ? errno : EIO));
  }
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.size() > kMaxPemBytes) fail(field, path, "is longer than 1 MiB");
  return text;
}

std::vector<X509Ptr> read_certificates(const std::string& field, const std::string& path) {
  const std::string text = read_pem_file(field, path);
  const BioPtr bio = bio_of(text);
  ERR_clear_error();
  std::vector<X509Ptr> certificates;
  while (X509* one = PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr)) {
    certificates.emplace_back(one);
  }
  // That no further one begins is how a good file ends.
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  const std::string why = openssl_error();
  if (certificates.empty() && at_end) fail(field, path, "holds no certificate in PEM");
  if (!at_end) fail(field, path, "holds a damaged certificate: " + why);
  return certificates;
}

KeyPtr read_key(const std::string& field, const std::string& path) {
  const std::string text = read_pem_file(field, path);
  KeyPtr key(PEM_read_bio_PrivateKey(bio_of(text).get(), nullptr, no_passphrase, nullptr));
  ERR_clear_error();
  if (!key) fail(field, path, "holds no private key in PEM that is without a passphrase");
  return key;
}

KeyPair read_key_pair(const std::string& certificate_field, const std::string& certificate,
                      const std::string& key_field, const std::string& key) {
  KeyPair pair{read_certificates(certificate_field, certificate), read_key(key_field, key)};
  if (X509_check_private_key(pair.chain.front().get(), pair.key.get()) != 1) {
    ERR_clear_error();
    fail(key_field, key, "is not the key of the certificate in " + certificate);
  }
  return pair;
}

std::chrono::system_clock::time_point not_before(const X509& certificate) {
  return time_of(X509_get0_notBefore(&certificate));
}

std::chrono::system_clock::time_point not_after(const X509& certificate) {
  return time_of(X509_get0_notAfter(&certificate));
}

std::chrono::system_clock::time_point first_not_after(const std::vector<X509Ptr>& certificates) {
  auto first = std::chrono::system_clock::time_point::max();
  for (const auto& one : certificates) first = std::min(first, not_after(*one));
  return first;
}

std::string in_utc(std::chrono::system_clock::time_point time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32] = {};
  strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace crab
