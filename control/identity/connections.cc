// SPDX-License-Identifier: Apache-2.0
#include "control/identity/connections.h"

#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <optional>
#include <system_error>

namespace crab {
namespace {

// Of the socket that the descriptor is now; empty if it is none.
std::optional<std::uint64_t> cookie_of(int fd) {
  std::uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) != 0) return std::nullopt;
  return cookie;
}

}  // namespace

void Connections::add(int fd, CallerPtr caller) {
  const auto cookie = cookie_of(fd);
  if (!cookie) throw std::system_error(errno, std::generic_category(), "SO_COOKIE");
  const std::scoped_lock lock(mutex_);
  by_fd_[fd] = {*cookie, std::move(caller)};
}

CallerPtr Connections::find(std::string_view peer) const {
  constexpr std::string_view kPrefix = "fd:";
  if (!peer.starts_with(kPrefix)) return nullptr;
  peer.remove_prefix(kPrefix.size());
  int fd = -1;
  const auto [rest, error] = std::from_chars(peer.data(), peer.data() + peer.size(), fd);
  if (error != std::errc() || rest != peer.data() + peer.size()) return nullptr;
  const std::scoped_lock lock(mutex_);
  const auto found = by_fd_.find(fd);
  if (found == by_fd_.end() || cookie_of(fd) != found->second.cookie) return nullptr;
  return found->second.caller;
}

std::size_t Connections::prune() {
  const std::scoped_lock lock(mutex_);
  std::erase_if(by_fd_, [](const auto& one) { return cookie_of(one.first) != one.second.cookie; });
  return by_fd_.size();
}

}  // namespace crab
