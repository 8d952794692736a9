// SPDX-License-Identifier: Apache-2.0
#include "control/identity/caller.h"

#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace crab {
namespace {

constexpr std::size_t kMaxNameBytes = 2'048;  // of a SPIFFE id: the SPIFFE-ID specification, 2.3
constexpr std::size_t kMaxNames = 64;

std::vector<gid_t> peer_groups(int fd) {
  std::vector<gid_t> groups(64);
  for (;;) {
    auto length = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    const bool fits = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &length) == 0;
    if (!fits && errno != ERANGE) {
      throw std::system_error(errno, std::generic_category(), "SO_PEERGROUPS");
    }
    groups.resize(length / sizeof(gid_t));  // of ERANGE, what is needed
    if (fits) return groups;
  }
}

// What an ASN.1 string holds, if that is printable ASCII without a space: names with other
// characters could be mistaken for others. Empty if not.
std::string plain_text(const ASN1_STRING* string) {
  const auto* bytes = reinterpret_cast<const char*>(ASN1_STRING_get0_data(string));
  const auto length = static_cast<std::size_t>(ASN1_STRING_length(string));
  std::string text(bytes, std::min(length, kMaxNameBytes + 1));
  const bool plain =
      std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
  return plain && text.size() <= kMaxNameBytes ? text : "";
}

std::string in_lower_case(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

std::string common_name(const X509& certificate) {
  const X509_NAME* subject = X509_get_subject_name(&certificate);
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at < 0) return "";
  return plain_text(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
}

}  // namespace

Caller unix_caller(int fd, gid_t administrators) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
    throw std::system_error(errno, std::generic_category(), "SO_PEERCRED");
  }
  Caller caller;
  caller.identity = "uid:" + std::to_string(peer.uid);
  caller.identities = {caller.identity, "gid:" + std::to_string(peer.gid)};
  bool is_member = peer.gid == administrators;
  for (const gid_t group : peer_groups(fd)) {
    if (group == peer.gid) continue;
    caller.identities.push_back("gid:" + std::to_string(group));
    is_member = is_member || group == administrators;
  }
  caller.is_local_administrator = is_member || peer.uid == 0 || peer.uid == geteuid();
  return caller;
}

Caller certificate_caller(const X509& certificate) {
  const std::unique_ptr<GENERAL_NAMES, decltype(&GENERAL_NAMES_free)> names(
      static_cast<GENERAL_NAMES*>(
          X509_get_ext_d2i(&certificate, NID_subject_alt_name, nullptr, nullptr)),
      GENERAL_NAMES_free);
  std::string spiffe;
  int n_uris = 0;
  std::vector<std::string> identities;
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type == GEN_URI) {
      ++n_uris;
      const std::string uri = plain_text(name->d.uniformResourceIdentifier);
      if (uri.starts_with("spiffe://")) spiffe = uri;
    } else if (name->type == GEN_DNS && identities.size() < kMaxNames) {
      const std::string dns = plain_text(name->d.dNSName);
      if (!dns.empty()) identities.push_back("dns:" + in_lower_case(dns));
    }
  }
  if (!spiffe.empty() && n_uris > 1) return {};
  if (!spiffe.empty()) identities.insert(identities.begin(), spiffe);
  if (identities.empty()) {
    const std::string name = common_name(certificate);
    if (!name.empty()) identities.push_back("cn:" + name);
  }
  if (identities.empty()) return {};
  return {
      .identity = identities.front(), .identities = identities, .is_local_administrator = false};
}

}  // namespace crab
