// SPDX-License-Identifier: Apache-2.0
// Certificates made by the test that uses them.
#pragma once

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

#include "control/identity/pem.h"

namespace crab {

struct IssuedCertificate {
  std::string certificate;  // PEM
  std::string key;
};

struct CertificateRequest {
  std::string common_name{};
  std::string alternative_names{};  // as x509v3_config(5): "URI:spiffe://a/b,DNS:a,IP:::1"
  std::string usage = "clientAuth,serverAuth";
  long valid_from_s = -3'600;  // from now
  long valid_until_s = 86'400;
};

// Signs certificates with a key of its own.
class CertificateAuthority {
 public:
  explicit CertificateAuthority(const std::string& name)
      : key_(EVP_EC_gen("P-256")), certificate_(X509_new()) {
    set_up(certificate_.get(), key_.get(), {.common_name = name});
    extend(certificate_.get(), NID_basic_constraints, "critical,CA:TRUE");
    extend(certificate_.get(), NID_key_usage, "critical,keyCertSign");
    sign(certificate_.get());
  }

  std::string pem() const { return to_pem(*certificate_); }

  IssuedCertificate issue(const CertificateRequest& request) {
    const KeyPtr key(EVP_EC_gen("P-256"));
    const X509Ptr certificate(X509_new());
    set_up(certificate.get(), key.get(), request);
    if (!request.usage.empty()) extend(certificate.get(), NID_ext_key_usage, request.usage);
    if (!request.alternative_names.empty()) {
      extend(certificate.get(), NID_subject_alt_name, request.alternative_names);
    }
    sign(certificate.get());
    return {to_pem(*certificate), key_pem(key.get())};
  }

 private:
  static void require(bool done) {
    if (!done) throw std::runtime_error("OpenSSL: " + openssl_error());
  }
  void set_up(X509* certificate, EVP_PKEY* key, const CertificateRequest& request) {
    require(X509_set_version(certificate, 2) == 1);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial_);
    X509_gmtime_adj(X509_getm_notBefore(certificate), request.valid_from_s);
    X509_gmtime_adj(X509_getm_notAfter(certificate), request.valid_until_s);
    X509_NAME* subject = X509_get_subject_name(certificate);
    if (!request.common_name.empty()) {
      require(X509_NAME_add_entry_by_txt(
                  subject, "CN", MBSTRING_ASC,
                  reinterpret_cast<const unsigned char*>(request.common_name.c_str()), -1, -1,
                  0) == 1);
    }
    require(X509_set_issuer_name(certificate, X509_get_subject_name(certificate_.get())) == 1);
    require(X509_set_pubkey(certificate, key) == 1);
  }
  static void extend(X509* certificate, int nid, const std::string& value) {
    X509_EXTENSION* extension = X509V3_EXT_nconf_nid(nullptr, nullptr, nid, value.c_str());
    require(extension != nullptr);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }
  void sign(X509* certificate) { require(X509_sign(certificate, key_.get(), EVP_sha256()) > 0); }
  static std::string text_of(BIO* bio) {
    char* data = nullptr;
    const long length = BIO_get_mem_data(bio, &data);
    std::string text(data, static_cast<std::size_t>(length));
    BIO_free(bio);
    return text;
  }
  static std::string to_pem(X509& certificate) {
    BIO* bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, &certificate);
    return text_of(bio);
  }
  static std::string key_pem(EVP_PKEY* key) {
    BIO* bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
    return text_of(bio);
  }

  long serial_ = 0;
  KeyPtr key_;
  X509Ptr certificate_;
};

// Takes the place of what is there in one step.
inline void put_file(const std::filesystem::path& path, const std::string& content) {
  const auto fresh = path.string() + ".new";
  std::ofstream(fresh) << content;
  std::filesystem::rename(fresh, path);
}

}  // namespace crab
