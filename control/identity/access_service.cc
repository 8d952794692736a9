// SPDX-License-Identifier: Apache-2.0
#include "control/identity/access_service.h"

namespace crab {

grpc::ServerUnaryReactor* AccessServiceImpl::GetCaller(grpc::CallbackServerContext* rpc,
                                                       const v1::GetCallerRequest*,
                                                       v1::GetCallerResponse* response) {
  const CallerPtr caller = entrance_.gate().caller(*rpc);
  response->set_identity(caller->identity);
  *response->mutable_identities() = {caller->identities.begin(), caller->identities.end()};
  return answer_now(rpc, grpc::Status::OK);
}

grpc::ServerUnaryReactor* AccessServiceImpl::GetAccess(grpc::CallbackServerContext* rpc,
                                                       const v1::GetAccessRequest*,
                                                       v1::GetAccessResponse* response) {
  *response = entrance_.describe();
  return answer_now(rpc, grpc::Status::OK);
}

}  // namespace crab
