// SPDX-License-Identifier: Apache-2.0
#include "lb/single_instance.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <utility>

#include "lb/eal.h"

namespace crab {

InterfaceClaim::InterfaceClaim(const std::string& interface)
    : socket_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
  const std::string name = "crab-lb/interface/" + interface;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path + 1, sizeof address.sun_path - 1);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (bind(socket_, reinterpret_cast<const sockaddr*>(&address), length) == 0) return;
  const int error = errno;
  close(socket_);
  if (error == EADDRINUSE) {
    throw StartupError(fmt::format(
        "{} is in use by another crab-lb in this network namespace: `pgrep -a crab-lb` shows it",
        interface));
  }
  throw StartupError(fmt::format("claiming {}: {}", interface, std::strerror(error)));
}

InterfaceClaim::~InterfaceClaim() { close(socket_); }

SocketClaim::SocketClaim(const std::string& path) {
  const std::string lock = path + ".lock";
  std::error_code ignored;
  const auto directory = std::filesystem::path(path).parent_path();
  // As control makes it (control/listener.h): who may list it may see the socket.
  if (std::filesystem::create_directories(directory, ignored)) {
    std::filesystem::permissions(directory, std::filesystem::perms(0750), ignored);
  }
  file_ = open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file_ < 0) {
    throw StartupError(
        fmt::format("{}: {}: control.listen must name a path in a directory that "
                    "crab-lb may write to",
                    lock, std::strerror(errno)));
  }
  if (flock(file_, LOCK_EX | LOCK_NB) == 0) return;
  close(file_);
  throw StartupError(fmt::format(
      "unix:{} is in use by another crab-lb: stop it (`fuser {}` shows it), or set control.listen",
      path, lock));
}

SocketClaim::SocketClaim(SocketClaim&& other) noexcept : file_(std::exchange(other.file_, -1)) {}

// The file stays: a process that has just opened it would otherwise lock what is no longer there.
SocketClaim::~SocketClaim() {
  if (file_ >= 0) close(file_);
}

}  // namespace crab
