// SPDX-License-Identifier: Apache-2.0
// The part of a configuration that says who may call, and where: `control`.
#include <set>
#include <string>

#include "control/identity/roles.h"
#include "control/listen_address.h"
#include "control/validate.h"

namespace crab {
namespace {

constexpr std::size_t kMaxSocketPath = 107;  // sun_path without its NUL, unix(7)
constexpr std::uint32_t kMaxRefreshSeconds = 86'400;

FieldErrors validate_tls(const v1::ControlTls& tls) {
  FieldErrors errors;
  const auto need_path = [&](const char* field, const std::string& path, const char* what) {
    if (path.empty()) {
      errors.push_back({field, std::string("is missing: ") + what});
    } else if (path[0] != '/') {
      errors.push_back({field, "'" + path + "' is no absolute path"});
    }
  };
  need_path("control.tls.certificate", tls.certificate(), "a file with crab-lb's certificate");
  need_path("control.tls.key", tls.key(), "a file with the certificate's key");
  need_path("control.tls.client_ca", tls.client_ca(),
            "a file with the certificates of those who sign clients' certificates");
  if (tls.refresh_seconds() > kMaxRefreshSeconds) {
    errors.push_back({"control.tls.refresh_seconds", "must be 1 to 86400"});
  }
  return errors;
}

}  // namespace

FieldErrors validate_control(const v1::Control& control) {
  FieldErrors errors;
  if (control.listen_size() > kMaxListeners) {
    errors.push_back({"control.listen", "more than 16 sockets"});
  }
  std::set<ListenAddress> seen;
  bool has_tcp = false;
  for (int i = 0; i < control.listen_size(); ++i) {
    const std::string field = indexed("control.listen", i);
    const std::string& text = control.listen(i);
    const auto address = parse_listen_address(text);
    const auto* path = address ? std::get_if<UnixPath>(&*address) : nullptr;
    if (!address) {
      errors.push_back({field, "'" + text +
                                   "' is neither unix:/PATH nor tcp:ADDRESS:PORT, such as " +
                                   "tcp:10.0.0.2:7470 or tcp:[fd00::2]:7470"});
    } else if (path != nullptr && path->path.size() > kMaxSocketPath) {
      errors.push_back({field, "the path is longer than 107 bytes"});
    } else if (!seen.insert(*address).second) {
      errors.push_back({field, "the same socket again"});
    } else if (is_tcp(*address)) {
      has_tcp = true;
      if (control.has_tls() || control.insecure()) continue;
      errors.push_back({field,
                        "needs control.tls, or `insecure: true` for a listener that takes "
                        "anybody without encryption"});
    }
  }
  if (control.has_tls() && control.insecure()) {
    errors.push_back({"control.insecure", "excludes `tls`"});
  }
  if (control.insecure() && !has_tcp) {
    errors.push_back({"control.insecure", "has no tcp: listener that it would be about"});
  }
  if (control.has_tls()) {
    const auto found = validate_tls(control.tls());
    errors.insert(errors.end(), found.begin(), found.end());
  }
  const auto found = validate_roles(control.roles());
  errors.insert(errors.end(), found.begin(), found.end());
  return errors;
}

}  // namespace crab
