// SPDX-License-Identifier: Apache-2.0
// Failures as gRPC carries them: a code and, in grpc-status-details-bin, google.rpc.ErrorInfo with
// a stable reason and google.rpc.BadRequest with the paths of the fields in error.
#pragma once

#include <grpcpp/support/status.h>

#include "control/failure.h"

namespace crab {

inline constexpr const char* kErrorDomain = "crab.v1";

grpc::Status to_status(const Failure& failure);

}  // namespace crab
