// SPDX-License-Identifier: Apache-2.0
// Why a request was refused or not completed, before gRPC comes into it (control/errors.h).
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <utility>

#include "control/field_error.h"

namespace crab {

enum class FailureCode {
  InvalidArgument,
  NotFound,
  AlreadyExists,
  FailedPrecondition,
  Aborted,
  ResourceExhausted,
  Unavailable,
  Internal,
  PermissionDenied,
  Unauthenticated,
};

struct Failure {
  FailureCode code = FailureCode::Internal;
  std::string reason;   // google.rpc.ErrorInfo.reason: stable, upper case; docs/api.md lists them
  std::string message;  // for people, one line
  FieldErrors fields;
  std::map<std::string, std::string> metadata;
  std::chrono::milliseconds retry_after{};  // of ResourceExhausted; zero: not known
};

inline Failure invalid_fields(FieldErrors fields) {
  return {FailureCode::InvalidArgument,
          "INVALID_FIELDS",
          "the request has fields in error",
          std::move(fields),
          {}};
}

inline Failure service_not_found(const std::string& name) {
  return {FailureCode::NotFound,
          "SERVICE_NOT_FOUND",
          "there is no service '" + name + "'",
          {},
          {{"service", name}}};
}

}  // namespace crab
