// SPDX-License-Identifier: Apache-2.0
#include "lb/netlink.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <system_error>

namespace crab {

namespace {
[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}
}  // namespace

int to_af(Family family) { return family == Family::Ipv4 ? AF_INET : AF_INET6; }

std::optional<IpAddress> ip_from_attribute(int af, const nlattr* attribute) {
  if (attribute == nullptr) return std::nullopt;
  const auto* bytes = static_cast<const std::uint8_t*>(mnl_attr_get_payload(attribute));
  const std::size_t length = mnl_attr_get_payload_len(attribute);
  if (af == AF_INET && length == 4) return IpAddress::v4(bytes);
  if (af == AF_INET6 && length == 16) return IpAddress::v6(bytes);
  return std::nullopt;
}

NetlinkRequest::NetlinkRequest(std::uint16_t type, std::uint16_t flags) {
  nlmsghdr* message = mnl_nlmsg_put_header(buffer_.data());
  message->nlmsg_type = type;
  message->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
}

NetlinkAttributes::NetlinkAttributes(const nlmsghdr* message, std::size_t header_bytes) {
  const auto collect = [](const nlattr* attribute, void* self) {
    auto& all = static_cast<NetlinkAttributes*>(self)->by_number_;
    const unsigned number = mnl_attr_get_type(attribute);
    if (number < all.size()) all[number] = attribute;
    return MNL_CB_OK;
  };
  mnl_attr_parse(message, static_cast<unsigned>(header_bytes), collect, this);
}

NetlinkSocket::NetlinkSocket(std::initializer_list<unsigned> groups) {
  socket_ = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | (groups.size() > 0 ? SOCK_NONBLOCK : 0));
  if (socket_ == nullptr) fail("netlink socket");
  if (mnl_socket_bind(socket_, 0, MNL_SOCKET_AUTOPID) < 0) fail("bind of a netlink socket");
  for (const unsigned group : groups) {
    int number = static_cast<int>(group);
    if (mnl_socket_setsockopt(socket_, NETLINK_ADD_MEMBERSHIP, &number, sizeof number) < 0) {
      fail("netlink multicast group");
    }
  }
  // A burst of notifications, as when a thousand neighbours fail at once, must find room. If the
  // kernel grants less, receive() says when something was lost.
  const int receive_bytes = 4 << 20;
  setsockopt(fd(), SOL_SOCKET, SO_RCVBUFFORCE, &receive_bytes, sizeof receive_bytes);
}

NetlinkSocket::~NetlinkSocket() { mnl_socket_close(socket_); }

int NetlinkSocket::request(NetlinkRequest& request, const Handler& handler) {
  nlmsghdr* message = request.header();
  // A dump ends with a message of its own; anything else shall be acknowledged.
  if ((message->nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP) message->nlmsg_flags |= NLM_F_ACK;
  message->nlmsg_seq = ++sequence_;
  if (mnl_socket_sendto(socket_, message, message->nlmsg_len) < 0) fail("netlink request");

  const auto deliver = [](const nlmsghdr* answer, void* argument) {
    const auto& to = *static_cast<const Handler*>(argument);
    if (to) to(answer);
    return MNL_CB_OK;
  };
  for (;;) {
    const ssize_t length = mnl_socket_recvfrom(socket_, buffer_.data(), buffer_.size());
    if (length < 0) {
      if (errno == EINTR) continue;
      fail("netlink answer");
    }
    const int result =
        mnl_cb_run(buffer_.data(), static_cast<std::size_t>(length), sequence_,
                   mnl_socket_get_portid(socket_), deliver, const_cast<Handler*>(&handler));
    if (result == MNL_CB_STOP) return 0;
    if (result == MNL_CB_ERROR) return errno;
  }
}

bool NetlinkSocket::receive(const Handler& handler) {
  bool complete = true;
  for (;;) {
    const ssize_t received = mnl_socket_recvfrom(socket_, buffer_.data(), buffer_.size());
    if (received < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return complete;
      if (errno != ENOBUFS) fail("netlink notification");
      complete = false;
      continue;
    }
    int length = static_cast<int>(received);
    for (const auto* message = reinterpret_cast<const nlmsghdr*>(buffer_.data());
         mnl_nlmsg_ok(message, length); message = mnl_nlmsg_next(message, &length)) {
      handler(message);
    }
  }
}

}  // namespace crab
