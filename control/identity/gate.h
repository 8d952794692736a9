// SPDX-License-Identifier: Apache-2.0
// What stands before every handler of the API: who calls, and whether that is allowed. The guarded
// services around ours (generated from the .proto files by control/identity/generate_guards.cc) ask
// it, so that an rpc without a check cannot be written.
#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <optional>

#include "control/answer_now.h"
#include "control/identity/access_counters.h"
#include "control/identity/connections.h"
#include "control/identity/roles.h"

namespace crab {

// Any thread.
class Gate {
 public:
  Gate(const Authorizer& authorizer, const Connections& connections, DeniedCalls& denied)
      : authorizer_(authorizer), connections_(connections), denied_(denied) {}

  // Whose call it is; never null within a handler, which only runs for callers that are known.
  CallerPtr caller(const grpc::ServerContextBase& rpc) const;

  // Why the call may not be, if so; counted. `method` is crab.v1.BackendService/RegisterBackends.
  // `request` is nullptr of rpcs that stream requests: those are checked by their method alone, and
  // their handlers ask again for what the messages name.
  std::optional<grpc::Status> refusal(const grpc::ServerContextBase& rpc, const char* method,
                                      const google::protobuf::Message* request) const;

 private:
  std::optional<Failure> check(const grpc::ServerContextBase& rpc, const char* method,
                               const google::protobuf::Message* request) const;

  const Authorizer& authorizer_;
  const Connections& connections_;
  DeniedCalls& denied_;
};

// Answers a streaming call that was refused.
template <typename Reactor>
class RefusedStream final : public Reactor {
 public:
  explicit RefusedStream(const grpc::Status& status) { this->Finish(status); }
  void OnDone() override { delete this; }
};

}  // namespace crab
