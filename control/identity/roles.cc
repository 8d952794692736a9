// SPDX-License-Identifier: Apache-2.0
#include "control/identity/roles.h"

#include <grp.h>
#include <pwd.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <stdexcept>

#include "control/validate.h"

namespace crab {
namespace {

constexpr std::string_view kSpiffe = "spiffe://";
constexpr const char* kIdentities =
    "is none of spiffe://TRUST-DOMAIN/PATH, dns:NAME, cn:NAME, uid:N, user:NAME, gid:N, "
    "group:NAME, "
    "anonymous";

std::string path_of(const std::string& identity) { return "control.roles." + identity; }

bool is_number(std::string_view text) {
  std::uint32_t number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && rest == text.data() + text.size() &&
         (text.size() == 1 || text.front() != '0');
}

// What is wrong with a key of the map; empty if nothing is.
std::string why_no_identity(const std::string& identity) {
  const auto plain = [](char c) { return c > ' ' && c <= '~'; };
  if (!std::all_of(identity.begin(), identity.end(), plain))
    return "has other than ASCII characters";
  if (identity == kAnonymous) return "";
  const auto star = identity.find('*');
  if (identity.starts_with(kSpiffe)) {
    // spiffe://a* would let in whoever has a trust domain that begins with an a.
    const auto slash = identity.find('/', kSpiffe.size());
    if (slash == std::string::npos || slash == kSpiffe.size() || slash + 1 == identity.size()) {
      return "needs a trust domain and a path: spiffe://example.org/agent, spiffe://example.org/*";
    }
    if (star != std::string::npos && (star < slash || star + 1 != identity.size())) {
      return "may have a * only at its end, after the trust domain";
    }
    return "";
  }
  if (star != std::string::npos) return "has a *, which only spiffe://.../ may end in";
  const auto colon = identity.find(':');
  const auto kind = identity.substr(0, colon);
  const auto rest = colon == std::string::npos ? "" : identity.substr(colon + 1);
  const bool named = kind == "dns" || kind == "cn" || kind == "user" || kind == "group";
  if (named && !rest.empty()) {
    const bool has_capitals =
        std::any_of(rest.begin(), rest.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
    return kind == "dns" && has_capitals ? "has capitals; DNS names are compared in lower case"
                                         : "";
  }
  if (kind == "uid" || kind == "gid") return is_number(rest) ? "" : "needs a decimal number";
  return kIdentities;
}

std::string known_methods() {
  std::string list = "viewer, autoscaler, agent, operator";
  for (const auto& method : api_methods()) {
    const auto slash = method.find('/');
    const auto dot = method.rfind('.', slash);
    list += ", " + method.substr(dot + 1, slash - dot - 1) + "." + method.substr(slash + 1);
  }
  return list;
}

void validate_role(const v1::Role& role, const std::string& path, FieldErrors* errors) {
  const auto fail = [&](const std::string& field, const std::string& why) {
    errors->push_back({path + "." + field, why});
  };
  if (role.methods().empty()) fail("methods", "names none; a bundle, or rpcs, are needed");
  if (role.services().empty()) fail("services", "names none; '*' is for all");
  if (role.methods_size() > kMaxRoleWords) return fail("methods", "more than 1024");
  if (role.services_size() > kMaxRoleWords) return fail("services", "more than 1024");
  for (int i = 0; i < role.methods_size(); ++i) {
    if (!expand_methods(role.methods(i)).empty()) continue;
    fail(indexed("methods", i), "'" + role.methods(i) + "' is none of " + known_methods());
  }
  for (int i = 0; i < role.services_size(); ++i) {
    if (role.services(i) == "*") continue;
    auto found = validate_service_name(role.services(i), indexed(path + ".services", i));
    errors->insert(errors->end(), found.begin(), found.end());
  }
}

// user:crab -> uid:997. Throws if there is none.
std::string numbered(const std::string& identity) {
  std::vector<char> buffer(1U << 16);
  if (identity.starts_with("user:")) {
    passwd entry{};
    passwd* found = nullptr;
    getpwnam_r(identity.c_str() + 5, &entry, buffer.data(), buffer.size(), &found);
    if (found != nullptr) return "uid:" + std::to_string(entry.pw_uid);
  } else if (identity.starts_with("group:")) {
    group entry{};
    group* found = nullptr;
    getgrnam_r(identity.c_str() + 6, &entry, buffer.data(), buffer.size(), &found);
    if (found != nullptr) return "gid:" + std::to_string(entry.gr_gid);
  } else {
    return identity;
  }
  throw std::runtime_error(path_of(identity) + ": this host has no such user or group");
}

}  // namespace

FieldErrors validate_roles(const google::protobuf::Map<std::string, v1::Role>& roles) {
  FieldErrors errors;
  if (roles.size() > kMaxRoles) errors.push_back({"control.roles", "more than 1024 identities"});
  const std::map<std::string, v1::Role> ordered(roles.begin(), roles.end());
  for (const auto& [identity, role] : ordered) {
    if (const auto why = why_no_identity(identity); !why.empty()) {
      errors.push_back({path_of(identity), "'" + identity + "' " + why});
    }
    validate_role(role, path_of(identity), &errors);
  }
  return errors;
}

Authorizer::Authorizer(const v1::Control& control) : has_map_(!control.roles().empty()) {
  for (const auto& [identity, role] : control.roles()) {
    Grant grant;
    grant.identity = numbered(identity);
    if (grant.identity.starts_with(kSpiffe) && grant.identity.ends_with('*')) {
      grant.is_prefix = true;
      grant.identity.pop_back();
    }
    for (const auto& word : role.methods()) grant.methods.merge(expand_methods(word));
    for (const auto& service : role.services()) {
      if (service == "*") grant.all_services = true;
      grant.services.insert(service);
    }
    grants_.push_back(std::move(grant));
  }
}

bool Authorizer::allows(const Caller& caller, std::string_view method,
                        std::optional<std::string_view> service) const {
  if (!has_map_) return caller.is_local_administrator;
  const auto is_for = [&](const Grant& grant) {
    return std::any_of(caller.identities.begin(), caller.identities.end(), [&](const auto& one) {
      return grant.is_prefix ? one.starts_with(grant.identity) : one == grant.identity;
    });
  };
  return std::any_of(grants_.begin(), grants_.end(), [&](const Grant& grant) {
    return grant.methods.contains(method) &&
           (!service || grant.all_services || grant.services.contains(*service)) && is_for(grant);
  });
}

std::optional<Failure> Authorizer::check(const Caller& caller, std::string_view method,
                                         std::optional<std::string_view> service) const {
  if (allows(caller, method, service)) return std::nullopt;
  std::map<std::string, std::string> metadata = {{"method", std::string(method)},
                                                 {"identity", caller.identity}};
  std::string what = std::string(method);
  if (service) {
    metadata["service"] = *service;
    what += service->empty() ? " for all services" : " for service '" + std::string(*service) + "'";
  }
  if (caller.is_anonymous()) {
    return Failure{FailureCode::Unauthenticated,
                   "NOT_AUTHENTICATED",
                   "a caller who has not said who it is may not call " + what,
                   {},
                   metadata};
  }
  return Failure{
      FailureCode::PermissionDenied,
      "ROLE_FORBIDS",
      caller.identity + " may not call " + what + "; control.roles of crab-lb says who may",
      {},
      metadata};
}

}  // namespace crab
