// SPDX-License-Identifier: Apache-2.0
// The kernel's own endpoint, netfilter module or kernel patch, as the generic netlink family
// "tcp_redirect" shows it: kernel_patch/uapi/tcp_redirect_netlink.h. One thread at a time.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "kernel_patch/agent/redirect_messages.h"

namespace crab {

class TcpRedirectNetlink {
 public:
  // Of the calling thread's network namespace. Throws AgentError.
  TcpRedirectNetlink() : TcpRedirectNetlink(open_generic_netlink()) {}
  explicit TcpRedirectNetlink(std::unique_ptr<NetlinkChannel> channel);

  // Whether the family is there. resolve() has the kernel load a module that brings it; find()
  // loads nothing. Afterwards, until one of them is called again, the others speak to that family:
  // if it goes, even if another one comes, they throw NetlinkRefusal with ENOENT. Throw AgentError,
  // among others when it speaks another version.
  bool resolve();
  bool find();

  // Throw NetlinkRefusal, and AgentError for an answer that cannot be.
  RedirectInfo info();
  // All at once or nothing. The words of a refusal name the attribute.
  void set(unsigned roles, const EndpointConfig& config);
  // Without keys, but n_keys says how many.
  std::vector<std::pair<crab_service_key, crab_service>> services();
  std::vector<crab_prefix> prefixes();
  std::vector<CounterReading> counters();
  // Redirected connections accepted since the family came, by server and node.
  std::vector<AcceptedReading> accepted();

 private:
  std::uint16_t family() const;
  bool use(std::optional<NetlinkFamily> family);
  template <typename Record>
  std::vector<Record> list(tcp_redirect_cmd command,
                           bool (*decode)(const nlmsghdr*, std::vector<Record>*));

  GenericNetlink netlink_;
  std::uint16_t family_ = 0;  // none
};

}  // namespace crab
