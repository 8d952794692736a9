// SPDX-License-Identifier: Apache-2.0
// Who calls: what a connection's peer has proved about itself. Made once for each connection.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

struct x509_st;  // OpenSSL's X509

namespace crab {

inline constexpr const char* kAnonymous = "anonymous";

struct Caller {
  // The one that stands for the caller: in errors, in the log, and as owner of what it registers.
  // uid:1000, spiffe://example.org/autoscaler, dns:a.example.org, cn:NAME, anonymous.
  std::string identity = kAnonymous;
  // All that a role may be written for; `identity` is the first.
  std::vector<std::string> identities = {kAnonymous};
  // On a Unix socket: root, crab-lb's own user, or a member of the socket's group.
  bool is_local_administrator = false;

  bool is_anonymous() const { return identity == kAnonymous; }
};
using CallerPtr = std::shared_ptr<const Caller>;

// The peer of a connected Unix socket, as the kernel knows it (SO_PEERCRED, SO_PEERGROUPS; unix(7),
// socket(7)): its effective user, its group and supplementary groups at the time of connect().
// `administrators` is the group whose members may do all by default. Throws std::system_error.
Caller unix_caller(int fd, gid_t administrators);

// The holder of a verified certificate: its SPIFFE id (the SPIFFE X.509-SVID specification, 2: the
// one URI name), its DNS names, or, only if it has no subject alternative name of these kinds, its
// subject's common name. Anonymous if it has none of them, or is no valid SVID: has a spiffe URI
// and another URI.
Caller certificate_caller(const x509_st& certificate);

}  // namespace crab
