// SPDX-License-Identifier: Apache-2.0
// What the gRPC services of crab.v1 share.
#pragma once

#include <chrono>
#include <memory>

#include "control/convert.h"
#include "control/manager.h"
#include "control/pending_calls.h"
#include "control/request_cache.h"
#include "control/watch_hub.h"

namespace crab {

struct ServiceContext {
  std::shared_ptr<Manager> manager;
  const Dataplane& dataplane;
  PendingCalls calls{};
  RequestCache requests{};
  WatchHub watches{manager};
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();

  NodeState state(const View& view, const LoadView& loads) const {
    return {.view = view, .loads = loads, .dataplane = dataplane};
  }
};

}  // namespace crab
