// SPDX-License-Identifier: Apache-2.0
// Where a server of a test may listen.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>

namespace crab {

// A free port of a loopback address, for SOCK_STREAM or SOCK_DGRAM; or 0.
inline std::uint16_t free_port(bool v6, int type) {
  const int fd = socket(v6 ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0);
  sockaddr_in6 address{};  // loopback of either family fits
  socklen_t length = sizeof address;
  if (v6) {
    address.sin6_family = AF_INET6;
    address.sin6_addr = in6addr_loopback;
  } else {
    auto* four = reinterpret_cast<sockaddr_in*>(&address);
    four->sin_family = AF_INET;
    four->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    length = sizeof *four;
  }
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  std::uint16_t port = 0;
  if (bind(fd, generic, length) == 0 && getsockname(fd, generic, &length) == 0) {
    port = ntohs(address.sin6_port);
  }
  close(fd);
  return port;
}

}  // namespace crab
