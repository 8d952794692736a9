// SPDX-License-Identifier: Apache-2.0
// Answers an rpc from within its handler.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

namespace crab {

inline grpc::ServerUnaryReactor* answer_now(grpc::CallbackServerContext* rpc,
                                            const grpc::Status& status) {
  auto* reactor = rpc->DefaultReactor();
  reactor->Finish(status);
  return reactor;
}

}  // namespace crab
