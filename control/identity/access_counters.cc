// SPDX-License-Identifier: Apache-2.0
#include "control/identity/access_counters.h"

namespace crab {

const char* name_of(ConnectionRefusal refusal) {
  switch (refusal) {
    case ConnectionRefusal::FdLimit:
      return "fd_limit";
    case ConnectionRefusal::ConnectionLimit:
      return "connection_limit";
    case ConnectionRefusal::NoPeer:
      return "no_peer";
    case ConnectionRefusal::NoCertificate:
      return "no_certificate";
    case ConnectionRefusal::Untrusted:
      return "untrusted";
    case ConnectionRefusal::Expired:
      return "expired";
    case ConnectionRefusal::NoTls:
      return "no_tls";
    case ConnectionRefusal::Timeout:
      return "timeout";
  }
  return "";
}

void DeniedCalls::count(const std::string& method, const std::string& reason) {
  const std::scoped_lock lock(mutex_);
  ++n_[{method, reason}];
}

std::map<DeniedCalls::Key, std::uint64_t> DeniedCalls::read() const {
  const std::scoped_lock lock(mutex_);
  return n_;
}

}  // namespace crab
