// SPDX-License-Identifier: Apache-2.0
// Who may do what: control.roles, and what holds without it.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "control/failure.h"
#include "control/field_error.h"
#include "control/identity/api_methods.h"
#include "control/identity/caller.h"
#include "crab/v1/config.pb.h"

namespace crab {

inline constexpr std::size_t kMaxRoles = 1'024;
inline constexpr int kMaxRoleWords = 1'024;  // methods or services of one role

// control.roles, without asking the machine for users and groups.
FieldErrors validate_roles(const google::protobuf::Map<std::string, v1::Role>& roles);

// Never changes once it is made: any thread.
class Authorizer {
 public:
  // Precondition: validate_roles() found nothing. Throws std::runtime_error, one line with the
  // field, if a user or a group of the map does not exist.
  explicit Authorizer(const v1::Control& control);

  // Whether the caller may call the method (crab.v1.BackendService/RegisterBackends) for the
  // service; an empty name is one that only a role for all services covers, nullopt a call that is
  // about none. Why not, if not: PERMISSION_DENIED / ROLE_FORBIDS, or, for the anonymous,
  // UNAUTHENTICATED / NOT_AUTHENTICATED.
  std::optional<Failure> check(const Caller& caller, std::string_view method,
                               std::optional<std::string_view> service) const;

 private:
  struct Grant {
    std::string identity;    // users and groups by number
    bool is_prefix = false;  // of SPIFFE ids
    MethodNames methods;
    std::set<std::string, std::less<>> services;
    bool all_services = false;
  };

  bool allows(const Caller& caller, std::string_view method,
              std::optional<std::string_view> service) const;

  bool has_map_ = false;
  std::vector<Grant> grants_;
};

}  // namespace crab
