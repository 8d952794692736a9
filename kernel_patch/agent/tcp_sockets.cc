// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/tcp_sockets.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>

#include "kernel_patch/agent/agent_error.h"
#include "kernel_patch/agent/mapped_address.h"

namespace crab {
namespace {

constexpr std::uint32_t kOpenStates = 1U << TCP_ESTABLISHED | 1U << TCP_FIN_WAIT1 |
                                      1U << TCP_FIN_WAIT2 | 1U << TCP_CLOSE_WAIT |
                                      1U << TCP_CLOSING | 1U << TCP_LAST_ACK;
constexpr std::uint8_t kTimeWaitTimer = 3;  // inet_diag_msg.idiag_timer, of sockets in name only

using Visit = std::function<void(const TcpSocket&)>;

crab_addr mapped(std::uint8_t family, const __be32* words) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(words);
  return to_mapped(family == AF_INET ? IpAddress::v4(bytes) : IpAddress::v6(bytes));
}

int deliver(const nlmsghdr* message, void* data) {
  inet_diag_msg found;
  if (mnl_nlmsg_get_payload_len(message) < sizeof found) return MNL_CB_OK;
  std::memcpy(&found, mnl_nlmsg_get_payload(message), sizeof found);
  TcpSocket socket{};
  socket.tuple.local = mapped(found.idiag_family, found.id.idiag_src);
  socket.tuple.remote = mapped(found.idiag_family, found.id.idiag_dst);
  socket.tuple.lport = found.id.idiag_sport;
  socket.tuple.rport = found.id.idiag_dport;
  socket.is_lingering = found.idiag_timer == kTimeWaitTimer;
  (*static_cast<const Visit*>(data))(socket);
  return MNL_CB_OK;
}

void dump(mnl_socket* netlink, std::uint8_t family, std::uint16_t port, const Visit& visit) {
  alignas(nlmsghdr) std::array<std::uint8_t, 32768> buffer{};
  nlmsghdr* header = mnl_nlmsg_put_header(buffer.data());
  header->nlmsg_type = SOCK_DIAG_BY_FAMILY;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  header->nlmsg_seq = family;
  auto* request =
      static_cast<inet_diag_req_v2*>(mnl_nlmsg_put_extra_header(header, sizeof(inet_diag_req_v2)));
  request->sdiag_family = family;
  request->sdiag_protocol = IPPROTO_TCP;
  request->idiag_states = kOpenStates;
  request->id.idiag_sport = htons(port);
  if (mnl_socket_sendto(netlink, header, header->nlmsg_len) < 0) {
    throw AgentError(fmt::format("sock_diag: {}", std::generic_category().message(errno)));
  }
  int more = MNL_CB_OK;
  while (more > MNL_CB_STOP) {
    const ssize_t n = mnl_socket_recvfrom(netlink, buffer.data(), buffer.size());
    more = n < 0 ? MNL_CB_ERROR
                 : mnl_cb_run(buffer.data(), static_cast<std::size_t>(n), family,
                              mnl_socket_get_portid(netlink), deliver, const_cast<Visit*>(&visit));
  }
  if (more == MNL_CB_ERROR) {
    throw AgentError(
        fmt::format("the kernel does not list its TCP sockets: {}; it needs CONFIG_INET_DIAG and "
                    "CONFIG_TCP_DIAG",
                    std::generic_category().message(errno)));
  }
}

}  // namespace

void for_each_open_socket(std::uint16_t port, const Visit& visit) {
  const std::unique_ptr<mnl_socket, int (*)(mnl_socket*)> netlink(
      mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC), mnl_socket_close);
  if (!netlink || mnl_socket_bind(netlink.get(), 0, MNL_SOCKET_AUTOPID) != 0) {
    throw AgentError(fmt::format("sock_diag: {}", std::generic_category().message(errno)));
  }
  dump(netlink.get(), AF_INET, port, visit);
  dump(netlink.get(), AF_INET6, port, visit);
}

}  // namespace crab
