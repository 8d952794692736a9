// SPDX-License-Identifier: Apache-2.0
// crab.v1.AccessService: who the caller is taken for, and how the node is reached.
#pragma once

#include "control/identity/entrance.h"
#include "crab/v1/access.grpc.pb.h"

namespace crab {

class AccessServiceImpl final : public v1::AccessService::CallbackService {
 public:
  explicit AccessServiceImpl(const Entrance& entrance) : entrance_(entrance) {}
  grpc::ServerUnaryReactor* GetCaller(grpc::CallbackServerContext* rpc,
                                      const v1::GetCallerRequest* request,
                                      v1::GetCallerResponse* response) override;
  grpc::ServerUnaryReactor* GetAccess(grpc::CallbackServerContext* rpc,
                                      const v1::GetAccessRequest* request,
                                      v1::GetAccessResponse* response) override;

 private:
  const Entrance& entrance_;
};

}  // namespace crab
