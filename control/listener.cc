// SPDX-License-Identifier: Apache-2.0
#include "control/listener.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <stdexcept>
#include <system_error>

namespace crab {
namespace {

constexpr mode_t kDirectoryMode = 0750;

std::string path_of(const std::string& listener) { return listener.substr(sizeof "unix:" - 1); }

[[noreturn]] void fail(const std::string& path, const std::string& what, int error) {
  throw std::runtime_error("control socket " + path + ": " + what + ": " +
                           std::generic_category().message(error));
}

// Does a process accept connections there?
bool is_live(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::copy_n(path.data(), std::min(path.size(), sizeof address.sun_path - 1), address.sun_path);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) fail(path, "cannot be checked", errno);
  const int result = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int error = errno;
  close(fd);
  // EAGAIN: it listens, and its backlog is full.
  if (result == 0 || error == EAGAIN) return true;
  if (error == ECONNREFUSED || error == ENOENT) return false;
  fail(path, "cannot be checked", error);
}

}  // namespace

void prepare_socket(const std::string& listener) {
  const std::string path = path_of(listener);
  const auto directory = std::filesystem::path(path).parent_path();
  if (!std::filesystem::exists(directory)) {
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    if (error) fail(path, "its directory cannot be made", error.value());
    if (chmod(directory.c_str(), kDirectoryMode) != 0) {
      fail(path, "its directory's mode cannot be set", errno);
    }
  }
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return;
    fail(path, "cannot be looked at", errno);
  }
  if (!S_ISSOCK(status.st_mode)) {
    throw std::runtime_error("control socket " + path + ": there is a file that is no socket");
  }
  if (is_live(path)) {
    throw std::runtime_error("control socket " + path +
                             ": another process listens on it; is a crab-lb running already?");
  }
  if (unlink(path.c_str()) != 0) fail(path, "the stale socket cannot be removed", errno);
}

void restrict_socket(const std::string& listener) {
  const std::string path = path_of(listener);
  if (chmod(path.c_str(), kSocketMode) != 0) fail(path, "its mode cannot be set", errno);
}

SocketUmask::SocketUmask() : before_(umask(0777 & ~kSocketMode)) {}
SocketUmask::~SocketUmask() { umask(before_); }

}  // namespace crab
