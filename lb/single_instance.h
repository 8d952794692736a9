// SPDX-License-Identifier: Apache-2.0
// What only one crab-lb at a time may use, held until the process ends, however it ends.
#pragma once

#include <string>

namespace crab {

// A network interface, in this network namespace: an abstract Unix socket of its name.
class InterfaceClaim {
 public:
  // Throws StartupError if another crab-lb has it.
  explicit InterfaceClaim(const std::string& interface);
  ~InterfaceClaim();
  InterfaceClaim(const InterfaceClaim&) = delete;
  InterfaceClaim& operator=(const InterfaceClaim&) = delete;

 private:
  int socket_;
};

// A control socket: a locked file beside it, PATH.lock, since sockets in the file system are shared
// between network namespaces. Makes the directory if there is none.
class SocketClaim {
 public:
  // Throws StartupError if another crab-lb has it, or it may not be made.
  explicit SocketClaim(const std::string& path);
  SocketClaim(SocketClaim&& other) noexcept;
  SocketClaim& operator=(SocketClaim&&) = delete;
  ~SocketClaim();

 private:
  int file_;
};

}  // namespace crab
