// SPDX-License-Identifier: Apache-2.0
// Rpcs that are answered later: by the strand, or, if it comes first, by the end of the server.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <unordered_set>

#include "control/failure.h"

namespace crab {

Failure shutting_down();

class PendingCall {
 public:
  explicit PendingCall(grpc::ServerUnaryReactor* reactor) : reactor_(reactor) {}
  // True once: whoever gets it may touch the call's messages and has to finish it.
  bool claim() { return !claimed_.exchange(true); }
  // After claim(); the reactor and the messages are gone afterwards.
  void finish(const grpc::Status& status) { reactor_->Finish(status); }

 private:
  grpc::ServerUnaryReactor* reactor_;
  std::atomic<bool> claimed_{false};
};

// Those that are under way. Any thread.
class PendingCalls {
 public:
  // nullptr after end(), the call being answered then.
  std::shared_ptr<PendingCall> add(grpc::ServerUnaryReactor* reactor);
  // Finishes the call, and before, if the status is OK, calls write() for its response; neither if
  // the server's end was first.
  template <typename Write>
  void answer(const std::shared_ptr<PendingCall>& call, const grpc::Status& status, Write write) {
    if (!call->claim()) return;
    remove(call);
    if (status.ok()) write();
    call->finish(status);
  }
  // Answers all with UNAVAILABLE, and every later one at once.
  void end();

 private:
  void remove(const std::shared_ptr<PendingCall>& call);

  std::mutex mutex_;
  bool ended_ = false;
  std::unordered_set<std::shared_ptr<PendingCall>> calls_;
};

}  // namespace crab
