// SPDX-License-Identifier: Apache-2.0
#include "lb/kernel_side.h"

#include <fmt/format.h>
#include <net/if.h>
#include <nftables/libnftables.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cctype>
#include <cstring>
#include <fstream>
#include <memory>

#include "lb/eal.h"
#include "lb/netlink.h"

namespace crab {

namespace {

// Runs commands as one transaction; the error's text, or nothing.
std::string run_nft(const std::string& commands) {
  const std::unique_ptr<nft_ctx, decltype(&nft_ctx_free)> nft(nft_ctx_new(NFT_CTX_DEFAULT),
                                                              nft_ctx_free);
  if (!nft) return "out of memory";
  nft_ctx_buffer_output(nft.get());
  nft_ctx_buffer_error(nft.get());
  if (nft_run_cmd_from_buffer(nft.get(), commands.c_str()) == 0) return {};
  std::string text = nft_ctx_get_error_buffer(nft.get());
  return text.substr(0, text.find('\n'));
}

// Fails if somebody else uses the interface.
void check_unused(NetlinkSocket& netlink, const std::string& interface, unsigned ifindex) {
  NetlinkRequest link(RTM_GETLINK, 0);
  link.fixed_header<ifinfomsg>().ifi_index = static_cast<int>(ifindex);
  unsigned master = 0;
  netlink.request(link, [&master](const nlmsghdr* message) {
    const NetlinkAttributes attributes(message, sizeof(ifinfomsg));
    if (attributes[IFLA_MASTER] != nullptr) master = mnl_attr_get_u32(attributes[IFLA_MASTER]);
  });
  if (master != 0) {
    char name[IF_NAMESIZE] = "?";
    if_indextoname(master, name);
    throw StartupError(
        fmt::format("{} belongs to {}, and crab-lb must have it alone: ip link set {} nomaster",
                    interface, name, interface));
  }
  std::string address;
  NetlinkRequest dump(RTM_GETADDR, NLM_F_DUMP);
  dump.fixed_header<ifaddrmsg>().ifa_family = AF_UNSPEC;
  netlink.request(dump, [&](const nlmsghdr* message) {
    const auto* header = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(message));
    // A link-local address is the kernel's own doing, and goes when IPv6 is disabled below.
    if (header->ifa_index != ifindex || header->ifa_scope == RT_SCOPE_LINK) return;
    const NetlinkAttributes attributes(message, sizeof(ifaddrmsg));
    const auto ip = ip_from_attribute(header->ifa_family, attributes[IFA_ADDRESS]);
    if (ip) address = fmt::format("{}/{}", ip->to_string(), header->ifa_prefixlen);
  });
  if (!address.empty()) {
    throw StartupError(fmt::format(
        "{} has the address {}, so Linux would answer beside crab-lb: ip addr flush dev {} "
        "(addresses of the appliance belong in `addresses:`)",
        interface, address, interface));
  }
}

void disable_ipv6(const std::string& interface) {
  const std::string path = "/proc/sys/net/ipv6/conf/" + interface + "/disable_ipv6";
  std::ofstream file(path);
  if (!file.is_open()) return;  // a kernel without IPv6
  file << '1' << std::flush;
  if (!file) throw StartupError(fmt::format("{}: {}", path, std::strerror(errno)));
}

}  // namespace

std::string quiet_table_name(const std::string& interface) {
  std::string name = "crab_";
  for (const char c : interface) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0) {
      name += c;
    } else {
      name += fmt::format("_{:02x}", byte);
    }
  }
  return name;
}

KernelSide::KernelSide(const std::string& interface, unsigned mtu)
    : claim_(interface), table_(quiet_table_name(interface)) {
  const unsigned ifindex = if_nametoindex(interface.c_str());
  if (ifindex == 0) {
    throw StartupError(fmt::format(
        "there is no interface {} in this network namespace: `ip link` lists them", interface));
  }
  NetlinkSocket netlink;
  check_unused(netlink, interface, ifindex);

  // Quiet first, up after: there is no moment at which Linux could answer.
  const std::string error = run_nft(fmt::format(
      "table netdev {0}\n"
      "delete table netdev {0}\n"
      "table netdev {0} {{\n"
      "  chain ingress {{ type filter hook ingress device \"{1}\" priority 0; policy drop; }}\n"
      "}}\n",
      table_, interface));
  if (!error.empty()) {
    throw StartupError(fmt::format(
        "nftables refuses the chain that keeps Linux quiet on {}: {} (the kernel needs nf_tables "
        "with netdev: modprobe nf_tables)",
        interface, error));
  }
  disable_ipv6(interface);

  NetlinkRequest up(RTM_NEWLINK, 0);
  auto& header = up.fixed_header<ifinfomsg>();
  header.ifi_index = static_cast<int>(ifindex);
  // All multicast, for neighbour solicitations to addresses that the kernel's side does not have.
  header.ifi_flags = header.ifi_change = IFF_UP | IFF_ALLMULTI;
  up.put_u32(IFLA_MTU, mtu);
  if (const int refused = netlink.request(up); refused != 0) {
    const std::string reason = std::strerror(refused);
    run_nft("delete table netdev " + table_);
    throw StartupError(
        fmt::format("{} cannot be brought up with MTU {}: {}", interface, mtu, reason));
  }
}

bool KernelSide::is_running(const std::string& interface) {
  const int query = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (query < 0) return true;  // not known: then the link's state is not what to fail for
  ifreq request{};
  interface.copy(request.ifr_name, IF_NAMESIZE - 1);
  const int result = ioctl(query, SIOCGIFFLAGS, &request);
  close(query);
  constexpr int kUp = IFF_UP | IFF_RUNNING;
  return result == 0 && (request.ifr_flags & kUp) == kUp;
}

KernelSide::~KernelSide() {
  if (const std::string error = run_nft("delete table netdev " + table_); !error.empty()) {
    spdlog::warn("nft delete table netdev {}: {}", table_, error);
  }
}

}  // namespace crab
