// SPDX-License-Identifier: Apache-2.0
#include "control/listener.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <system_error>

namespace crab {
namespace {

constexpr mode_t kDirectoryMode = 0750;
constexpr int kBacklog = 4'096;     // what the kernel's net.core.somaxconn allows by default
constexpr int kAcceptsAtOnce = 64;  // then others have their turn
// A peer that vanished without a word is noticed after a minute or so.
constexpr int kKeepAliveIdleSeconds = 30;
constexpr int kKeepAliveIntervalSeconds = 10;
constexpr int kUserTimeoutMs = 60'000;

[[noreturn]] void fail(const std::string& path, const std::string& what, int error) {
  throw std::runtime_error("control socket " + path + ": " + what + ": " +
                           std::generic_category().message(error));
}

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::copy_n(path.data(), std::min(path.size(), sizeof address.sun_path - 1), address.sun_path);
  return address;
}

// Does a process accept connections there?
bool is_live(const std::string& path) {
  const sockaddr_un address = unix_address(path);
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

// While it lives, this process creates sockets that are never wider open than kSocketMode.
class SocketUmask {
 public:
  SocketUmask() : before_(umask(0777 & ~kSocketMode)) {}
  ~SocketUmask() { umask(before_); }
  SocketUmask(const SocketUmask&) = delete;
  SocketUmask& operator=(const SocketUmask&) = delete;

 private:
  mode_t before_;
};

// Closes the socket unless release() has been called.
class OpenSocket {
 public:
  OpenSocket(int family, const std::string& name)
      : name_(name), fd_(socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    if (fd_ < 0) fail(name_, "cannot be opened", errno);
  }
  ~OpenSocket() {
    if (fd_ >= 0) ::close(fd_);
  }
  OpenSocket(const OpenSocket&) = delete;
  OpenSocket& operator=(const OpenSocket&) = delete;

  void set(int level, int option, int value) const {
    if (setsockopt(fd_, level, option, &value, sizeof value) != 0) {
      fail(name_, "cannot be set up", errno);
    }
  }
  void bind(const void* address, socklen_t length) const {
    if (::bind(fd_, static_cast<const sockaddr*>(address), length) != 0) {
      fail(name_, "cannot listen", errno);
    }
  }
  void listen() const {
    if (::listen(fd_, kBacklog) != 0) fail(name_, "cannot listen", errno);
  }
  int release() { return std::exchange(fd_, -1); }

 private:
  const std::string name_;
  int fd_;
};

int open_unix(const std::string& path, ino_t* inode) {
  prepare_socket(path);
  OpenSocket socket(AF_UNIX, path);
  const sockaddr_un address = unix_address(path);
  {
    const SocketUmask umask;
    socket.bind(&address, sizeof address);
  }
  if (chmod(path.c_str(), kSocketMode) != 0) fail(path, "its mode cannot be set", errno);
  struct stat status {};
  if (stat(path.c_str(), &status) == 0) *inode = status.st_ino;
  socket.listen();
  return socket.release();
}

int open_tcp(const SocketAddress& address) {
  OpenSocket socket(address.address.is_v4() ? AF_INET : AF_INET6, "tcp:" + address.to_string());
  socket.set(SOL_SOCKET, SO_REUSEADDR, 1);
  // Accepted connections inherit these.
  socket.set(SOL_SOCKET, SO_KEEPALIVE, 1);
  socket.set(IPPROTO_TCP, TCP_KEEPIDLE, kKeepAliveIdleSeconds);
  socket.set(IPPROTO_TCP, TCP_KEEPINTVL, kKeepAliveIntervalSeconds);
  socket.set(IPPROTO_TCP, TCP_USER_TIMEOUT, kUserTimeoutMs);
  socket.set(IPPROTO_TCP, TCP_NODELAY, 1);
  if (address.address.is_v4()) {
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_port = htons(address.port);
    std::memcpy(&where.sin_addr, address.address.bytes.data(), sizeof where.sin_addr);
    socket.bind(&where, sizeof where);
  } else {
    socket.set(IPPROTO_IPV6, IPV6_V6ONLY, 1);
    sockaddr_in6 where{};
    where.sin6_family = AF_INET6;
    where.sin6_port = htons(address.port);
    std::memcpy(&where.sin6_addr, address.address.bytes.data(), sizeof where.sin6_addr);
    socket.bind(&where, sizeof where);
  }
  socket.listen();
  return socket.release();
}

bool is_out_of_resources(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

}  // namespace

void prepare_socket(const std::string& path) {
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

Listener::Listener(boost::asio::io_context& io, const ListenAddress& address,
                   ListenerCounters& counters)
    : address_(address), counters_(counters), socket_(io), timer_(io) {
  const auto* path = std::get_if<UnixPath>(&address_);
  socket_.assign(path != nullptr ? open_unix(path->path, &inode_)
                                 : open_tcp(std::get<SocketAddress>(address_)));
}

Listener::~Listener() {
  const auto* path = std::get_if<UnixPath>(&address_);
  struct stat status {};
  if (path != nullptr && lstat(path->path.c_str(), &status) == 0 && status.st_ino == inode_) {
    unlink(path->path.c_str());
  }
}

void Listener::start(OnConnection on_connection) {
  on_connection_ = std::move(on_connection);
  wait();
}

void Listener::close() {
  boost::system::error_code ignored;
  timer_.cancel();
  socket_.close(ignored);
}

void Listener::wait() {
  socket_.async_wait(boost::asio::posix::stream_descriptor::wait_read, [this](const auto& error) {
    if (!error) accept_all();
  });
}

void Listener::accept_all() {
  for (int i = 0; i < kAcceptsAtOnce && socket_.is_open(); ++i) {
    const int fd = accept4(socket_.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      counters_.n_accepted.fetch_add(1, std::memory_order_relaxed);
      on_connection_(fd);
    } else if (is_out_of_resources(errno)) {
      return pause();
    } else if (errno == EAGAIN) {
      break;
    }
    // Anything else is that connection's own: the client has left.
  }
  if (socket_.is_open()) wait();
}

// The connection stays in the queue. To accept and close it would need a descriptor as well.
void Listener::pause() {
  counters_.refuse(ConnectionRefusal::FdLimit);
  timer_.expires_after(kFdPause);
  timer_.async_wait([this](const auto& error) {
    if (!error) accept_all();
  });
}

}  // namespace crab
