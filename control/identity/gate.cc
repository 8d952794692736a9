// SPDX-License-Identifier: Apache-2.0
#include "control/identity/gate.h"

#include <grpcpp/server_context.h>

#include "control/errors.h"

namespace crab {

CallerPtr Gate::caller(const grpc::ServerContextBase& rpc) const {
  return connections_.find(rpc.peer());
}

std::optional<Failure> Gate::check(const grpc::ServerContextBase& rpc, const char* method,
                                   const google::protobuf::Message* request) const {
  const CallerPtr caller = this->caller(rpc);
  if (!caller) {
    return Failure{FailureCode::Unauthenticated,
                   "NOT_AUTHENTICATED",
                   "crab-lb does not know whose connection this is",
                   {},
                   {{"method", method}}};
  }
  const auto services = request != nullptr ? services_of(*request) : std::vector<std::string>();
  if (services.empty()) return authorizer_.check(*caller, method, std::nullopt);
  for (const auto& service : services) {
    if (auto failure = authorizer_.check(*caller, method, service)) return failure;
  }
  return std::nullopt;
}

std::optional<grpc::Status> Gate::refusal(const grpc::ServerContextBase& rpc, const char* method,
                                          const google::protobuf::Message* request) const {
  const auto failure = check(rpc, method, request);
  if (!failure) return std::nullopt;
  denied_.count(method, failure->reason);
  return to_status(*failure);
}

}  // namespace crab
