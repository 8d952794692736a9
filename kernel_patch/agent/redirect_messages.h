// SPDX-License-Identifier: Apache-2.0
// The messages of kernel_patch/uapi/tcp_redirect_netlink.h as values. Pure functions.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "control/socket_address.h"
#include "kernel_patch/agent/endpoint_config.h"
#include "kernel_patch/agent/generic_netlink.h"
#include "kernel_patch/uapi/tcp_redirect_netlink.h"

namespace crab {

// What serves the family, and what is in force in this network namespace.
struct RedirectInfo {
  unsigned implementation = 0;  // TCP_REDIRECT_IMPLEMENTATION_*
  std::string version;
  unsigned roles = 0;  // TCP_REDIRECT_ROLE_*, which are CRAB_ROLE_*
  std::uint32_t n_services = 0;
  std::uint32_t n_prefixes = 0;
  std::uint32_t n_pending = 0;
  std::uint32_t max_pending = 0;
  std::uint32_t n_echoes = 0;
  std::uint32_t max_echoes = 0;  // 0: the listeners' backlogs bound them

  bool operator==(const RedirectInfo&) const = default;
};

struct CounterReading {
  std::string name;
  std::string meaning;  // empty if this crab-agent does not know it
  std::uint64_t value = 0;

  bool operator==(const CounterReading&) const = default;
};

struct AcceptedReading {
  SocketAddress server;
  std::uint8_t node = 0;
  std::uint64_t count = 0;

  bool operator==(const AcceptedReading&) const = default;
};

// A command without attributes.
NetlinkMessage encode_command(tcp_redirect_cmd command);
// Makes roles, services and prefixes what is given; a prefix that is there twice goes once.
NetlinkMessage encode_set(unsigned roles, const EndpointConfig& config);
// Which of the request's attributes an extended ack's offset points at, in words: "services[2]
// 10.0.0.100:80: keys". Empty if at none that there is.
std::string attribute_at(const NetlinkMessage& request, std::uint32_t offset);

// Empty if the message lacks what it must have, or has it in another size.
std::optional<RedirectInfo> decode_info(const nlmsghdr* message);
// Nothing is appended of a record that is wrong, and false returned.
bool decode_services(const nlmsghdr* message,
                     std::vector<std::pair<crab_service_key, crab_service>>* services);
bool decode_prefixes(const nlmsghdr* message, std::vector<crab_prefix>* prefixes);
bool decode_counters(const nlmsghdr* message, std::vector<CounterReading>* counters);
bool decode_accepted(const nlmsghdr* message, std::vector<AcceptedReading>* accepted);

}  // namespace crab
