// SPDX-License-Identifier: Apache-2.0
// What the control service's listeners took and refused, and the calls that roles forbade.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

namespace crab {

// Why a connection came to nothing.
enum class ConnectionRefusal {
  FdLimit,          // no file descriptor or memory; accepting paused, or this one was closed
  ConnectionLimit,  // kMaxConnections are open
  NoPeer,           // the kernel does not say who it is
  NoCertificate,
  Untrusted,  // its certificate is signed by no authority of client_ca, or unfit for a client
  Expired,    // its certificate has expired, or is not valid yet
  NoTls,      // speaks no TLS, another version of it, or no HTTP/2; or it does not trust ours
  Timeout,    // did not finish the handshake in time
};
inline constexpr std::size_t kNConnectionRefusals = 8;
const char* name_of(ConnectionRefusal refusal);

// Written by the listeners' thread, read by any.
struct ListenerCounters {
  std::atomic<std::uint64_t> n_accepted{0};
  std::array<std::atomic<std::uint64_t>, kNConnectionRefusals> n_refused{};

  void refuse(ConnectionRefusal why) {
    n_refused[static_cast<std::size_t>(why)].fetch_add(1, std::memory_order_relaxed);
  }
};

// Any thread.
class DeniedCalls {
 public:
  using Key = std::pair<std::string, std::string>;  // method, reason

  void count(const std::string& method, const std::string& reason);
  std::map<Key, std::uint64_t> read() const;

 private:
  mutable std::mutex mutex_;
  std::map<Key, std::uint64_t> n_;  // mutex_
};

}  // namespace crab
