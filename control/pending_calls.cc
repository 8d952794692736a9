// SPDX-License-Identifier: Apache-2.0
#include "control/pending_calls.h"

#include "control/errors.h"

namespace crab {

Failure shutting_down() {
  return {FailureCode::Unavailable,
          "SHUTTING_DOWN",
          "crab-lb is ending; whether the change was made is not known",
          {},
          {}};
}

std::shared_ptr<PendingCall> PendingCalls::add(grpc::ServerUnaryReactor* reactor) {
  auto call = std::make_shared<PendingCall>(reactor);
  const std::scoped_lock lock(mutex_);
  if (ended_) {
    reactor->Finish(to_status(shutting_down()));
    return nullptr;
  }
  calls_.insert(call);
  return call;
}

void PendingCalls::remove(const std::shared_ptr<PendingCall>& call) {
  const std::scoped_lock lock(mutex_);
  calls_.erase(call);
}

void PendingCalls::end() {
  const std::scoped_lock lock(mutex_);
  ended_ = true;
  for (const auto& call : calls_) {
    if (call->claim()) call->finish(to_status(shutting_down()));
  }
  calls_.clear();
}

}  // namespace crab
