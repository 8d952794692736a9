// SPDX-License-Identifier: Apache-2.0
// The Unix sockets of the control API, before gRPC listens on them.
#pragma once

#include <sys/types.h>
#include <string>

namespace crab {

// Makes the socket's directory if need be (mode 0750) and sees to it that nothing is at the path:
// gRPC unlinks a socket there unseen, even one that another process listens on. Throws
// std::runtime_error, one line with the path, if it is in use, is no socket, or may not be made.
// `listener` is unix:/PATH.
void prepare_socket(const std::string& listener);

// After gRPC listens: the owner and the group may connect.
inline constexpr mode_t kSocketMode = 0660;
void restrict_socket(const std::string& listener);

// While it lives, this process creates sockets that are never wider open than kSocketMode.
class SocketUmask {
 public:
  SocketUmask();
  ~SocketUmask();
  SocketUmask(const SocketUmask&) = delete;
  SocketUmask& operator=(const SocketUmask&) = delete;

 private:
  mode_t before_;
};

}  // namespace crab
