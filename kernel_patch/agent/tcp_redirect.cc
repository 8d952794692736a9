// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/tcp_redirect.h"

#include <fmt/format.h>

#include <cerrno>

namespace crab {
namespace {

// A list that changes faster than it can be read is shown as it is.
constexpr int kMaxListings = 8;

AgentError not_understood(const char* what) {
  return AgentError(fmt::format(
      "the kernel's answer about {} is not what this crab-agent understands: are the two of one "
      "version?",
      what));
}

const char* name_of(tcp_redirect_cmd command) {
  switch (command) {
    case TCP_REDIRECT_CMD_GET_SERVICES:
      return "services";
    case TCP_REDIRECT_CMD_GET_PREFIXES:
      return "allowed prefixes";
    case TCP_REDIRECT_CMD_GET_COUNTERS:
      return "counters";
    default:
      return "accepted connections";
  }
}

}  // namespace

TcpRedirectNetlink::TcpRedirectNetlink(std::unique_ptr<NetlinkChannel> channel)
    : netlink_(std::move(channel)) {}

bool TcpRedirectNetlink::resolve() { return use(netlink_.resolve(TCP_REDIRECT_GENL_NAME)); }

bool TcpRedirectNetlink::find() { return use(netlink_.find(TCP_REDIRECT_GENL_NAME)); }

bool TcpRedirectNetlink::use(std::optional<NetlinkFamily> family) {
  family_ = 0;
  if (!family) return false;
  if (family->version != TCP_REDIRECT_GENL_VERSION) {
    throw AgentError(fmt::format(
        "the kernel's family {} is of version {}, this crab-agent speaks version {}: install the "
        "two from one release",
        TCP_REDIRECT_GENL_NAME, family->version, TCP_REDIRECT_GENL_VERSION));
  }
  family_ = family->id;
  return true;
}

std::uint16_t TcpRedirectNetlink::family() const {
  if (family_ != 0) return family_;
  throw NetlinkRefusal("there is no generic netlink family tcp_redirect", ENOENT, "", std::nullopt);
}

RedirectInfo TcpRedirectNetlink::info() {
  std::optional<RedirectInfo> info;
  netlink_.request(family(), encode_command(TCP_REDIRECT_CMD_GET_INFO),
                   [&info](const nlmsghdr* answer) { info = decode_info(answer); });
  if (!info) throw not_understood("itself");
  return *info;
}

void TcpRedirectNetlink::set(unsigned roles, const EndpointConfig& config) {
  const NetlinkMessage message = encode_set(roles, config);
  try {
    netlink_.request(family(), message);
  } catch (const NetlinkRefusal& refusal) {
    const std::string where =
        refusal.offset() ? attribute_at(message, *refusal.offset()) : std::string();
    throw NetlinkRefusal(fmt::format("the kernel refuses the configuration: {}{}{}", where,
                                     where.empty() ? "" : ": ", refusal.what()),
                         refusal.error(), refusal.words(), refusal.offset());
  }
}

template <typename Record>
std::vector<Record> TcpRedirectNetlink::list(tcp_redirect_cmd command,
                                             bool (*decode)(const nlmsghdr*,
                                                            std::vector<Record>*)) {
  std::vector<Record> records;
  bool is_right = true;
  for (int i = 0; i < kMaxListings; ++i) {
    records.clear();
    const bool is_one_moment = netlink_.dump(
        family(), encode_command(command),
        [&](const nlmsghdr* answer) { is_right = decode(answer, &records) && is_right; });
    if (!is_right) throw not_understood(name_of(command));
    if (is_one_moment) break;
  }
  return records;
}

std::vector<std::pair<crab_service_key, crab_service>> TcpRedirectNetlink::services() {
  return list(TCP_REDIRECT_CMD_GET_SERVICES, decode_services);
}

std::vector<crab_prefix> TcpRedirectNetlink::prefixes() {
  return list(TCP_REDIRECT_CMD_GET_PREFIXES, decode_prefixes);
}

std::vector<CounterReading> TcpRedirectNetlink::counters() {
  return list(TCP_REDIRECT_CMD_GET_COUNTERS, decode_counters);
}

std::vector<AcceptedReading> TcpRedirectNetlink::accepted() {
  return list(TCP_REDIRECT_CMD_GET_ACCEPTED, decode_accepted);
}

}  // namespace crab
