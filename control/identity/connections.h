// SPDX-License-Identifier: Apache-2.0
// Which peer a call is from. gRPC tells a handler nothing of a connection that was handed to it but
// "fd:N", N being the socket's descriptor: this says who is at its other end.
//
// That is sound because of who owns N. A caller is entered before gRPC gets the descriptor; gRPC
// closes it only when the connection's transport goes, and each call holds the transport. So while
// a call lives, N is its own connection's and cannot be another's. The socket's cookie, which the
// kernel never gives twice (SO_COOKIE, socket(7)), is compared on top: an entry that is not the
// descriptor's own gives nobody instead of somebody else.
#pragma once

#include <cstdint>
#include <mutex>
#include <string_view>
#include <unordered_map>

#include "control/identity/caller.h"

namespace crab {

// Any thread.
class Connections {
 public:
  // A socket that gRPC is about to get. Throws std::system_error.
  void add(int fd, CallerPtr caller);
  // `peer` is what grpc::ServerContext::peer() says during a call. nullptr: nobody that is known.
  CallerPtr find(std::string_view peer) const;
  // Forgets those that have ended; how many there are.
  std::size_t prune();

 private:
  struct Entry {
    std::uint64_t cookie = 0;
    CallerPtr caller;
  };

  mutable std::mutex mutex_;
  std::unordered_map<int, Entry> by_fd_;  // mutex_
};

}  // namespace crab
