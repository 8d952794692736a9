// SPDX-License-Identifier: Apache-2.0
#include "lb/host_interface.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_addr.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>

#include "lb/announce.h"
#include "lb/eal.h"

namespace crab {

namespace {

// Marks our addresses on lo (IFA_PROTO, Linux 5.18), so that the next start finds what a killed
// process left. The kernel's own marks are 1 to 3.
constexpr std::uint8_t kAddressProtocol = 0xCA;

std::string error_text(int error) { return std::strerror(error); }

void set_sysctl(const std::string& path, const char* value, bool required = true) {
  std::ofstream file("/proc/sys/net/" + path);
  file << value << std::flush;
  if (file || !required) return;
  throw StartupError(fmt::format(
      "/proc/sys/net/{} cannot be written: {} (in a container, /proc/sys must be writable)", path,
      error_text(errno)));
}

NetlinkRequest address_request(std::uint16_t type, std::uint16_t flags, unsigned ifindex,
                               const IpAddress& address, std::uint8_t prefix_length) {
  NetlinkRequest request(type, flags);
  auto& header = request.fixed_header<ifaddrmsg>();
  header.ifa_family = static_cast<std::uint8_t>(to_af(address.family));
  header.ifa_prefixlen = prefix_length;
  header.ifa_index = ifindex;
  // Without duplicate address detection: it would delay the address by a second, and a node that
  // takes over a virtual address means to have it.
  if (!address.is_v4()) header.ifa_flags = IFA_F_NODAD;
  request.put(IFA_LOCAL, address);
  request.put(IFA_ADDRESS, address);
  return request;
}

}  // namespace

std::optional<InterfaceAddress> InterfaceAddress::parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto address = IpAddress::parse(text.substr(0, slash));
  const std::string_view digits = text.substr(slash + 1);
  unsigned length = 0;
  const auto [end, error] = std::from_chars(digits.begin(), digits.end(), length);
  if (!address || error != std::errc{} || end != digits.end() || length > address->size() * 8) {
    return std::nullopt;
  }
  return InterfaceAddress{*address, static_cast<std::uint8_t>(length)};
}

HostInterface::HostInterface(const HostInterfaceSettings& settings, NetlinkSocket& netlink)
    : name_(settings.name) {
  open_tap();
  try {
    bring_up(settings, netlink);
  } catch (...) {
    close(tap_);
    throw;
  }
}

HostInterface::~HostInterface() { close(tap_); }

void HostInterface::open_tap() {
  if (name_.size() >= IF_NAMESIZE) {
    throw StartupError(
        fmt::format("host_interface {}: longer than {} characters", name_, IF_NAMESIZE - 1));
  }
  if (if_nametoindex(name_.c_str()) != 0) {
    throw StartupError(fmt::format(
        "host_interface {} exists already: another crab-lb runs in this network namespace, or: ip "
        "link delete {}",
        name_, name_));
  }
  tap_ = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tap_ < 0) throw StartupError("/dev/net/tun: " + error_text(errno) + " (modprobe tun)");
  ifreq request{};
  name_.copy(request.ifr_name, IF_NAMESIZE - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (ioctl(tap_, TUNSETIFF, &request) != 0) {
    const std::string reason = error_text(errno);
    close(tap_);
    throw StartupError(fmt::format("host_interface {} cannot be made: {}", name_, reason));
  }
  ifindex_ = if_nametoindex(name_.c_str());
}

void HostInterface::bring_up(const HostInterfaceSettings& settings, NetlinkSocket& netlink) {
  // Answer ARP only for what stands on this interface, and ask with its own addresses: an address
  // that is not announced stays unannounced, and no backend learns a virtual one from us.
  set_sysctl("ipv4/conf/" + name_ + "/arp_ignore", "1");
  set_sysctl("ipv4/conf/" + name_ + "/arp_announce", "2");
  // Loose: clients may be routed back another way, and strict (1) in `all` would win over off (0).
  set_sysctl("ipv4/conf/" + name_ + "/rp_filter", "2");
  set_sysctl("ipv6/conf/" + name_ + "/disable_ipv6", "0", false);
  set_sysctl("ipv6/conf/" + name_ + "/accept_dad", "0", false);
  set_sysctl("ipv6/conf/" + name_ + "/accept_ra", "0", false);

  NetlinkRequest link(RTM_NEWLINK, 0);
  auto& header = link.fixed_header<ifinfomsg>();
  header.ifi_index = static_cast<int>(ifindex_);
  header.ifi_flags = header.ifi_change = IFF_UP;
  link.put(IFLA_ADDRESS, settings.mac);
  link.put_u32(IFLA_MTU, settings.mtu);
  if (const int error = netlink.request(link); error != 0) {
    throw StartupError(fmt::format("{} cannot be brought up: {}", name_, error_text(error)));
  }
  for (const InterfaceAddress& configured : settings.addresses) {
    NetlinkRequest request = address_request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, ifindex_,
                                             configured.address, configured.prefix_length);
    if (const int error = netlink.request(request); error != 0) {
      throw StartupError(fmt::format("{} refuses the address {}/{}: {}", name_,
                                     configured.address.to_string(), configured.prefix_length,
                                     error_text(error)));
    }
  }
  for (const IpAddress& gateway : settings.gateways) {
    NetlinkRequest request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
    auto& route = request.fixed_header<rtmsg>();
    route.rtm_family = static_cast<std::uint8_t>(to_af(gateway.family));
    route.rtm_table = RT_TABLE_MAIN;
    route.rtm_protocol = RTPROT_STATIC;
    route.rtm_type = RTN_UNICAST;
    request.put(RTA_GATEWAY, gateway);
    request.put_u32(RTA_OIF, ifindex_);
    const int error = netlink.request(request);
    if (error == EEXIST) {
      throw StartupError(fmt::format(
          "gateway {}: there is another default route: remove it (ip -{} route del default), or "
          "leave `gateways` out and give {} routes of its own",
          gateway.to_string(), gateway.is_v4() ? 4 : 6, name_));
    }
    if (error != 0) {
      throw StartupError(
          fmt::format("gateway {}: {}: it must be inside the prefix of one of {}'s addresses",
                      gateway.to_string(), error_text(error), name_));
    }
  }
}

void HostInterface::set_carrier(bool up) {
  if (up == carrier_) return;
  const int value = up ? 1 : 0;
  if (ioctl(tap_, TUNSETCARRIER, &value) == 0) carrier_ = up;
}

VirtualAddresses::VirtualAddresses(std::map<unsigned, MacAddress> host_interfaces,
                                   NetlinkSocket& netlink)
    : host_interfaces_(std::move(host_interfaces)),
      loopback_(if_nametoindex("lo")),
      netlink_(netlink) {
  remove_leftovers();
}

VirtualAddresses::~VirtualAddresses() { set({}); }

void VirtualAddresses::set(const std::vector<VirtualAddress>& addresses) {
  std::set<Placed> wanted;
  for (const VirtualAddress& virtual_address : addresses) {
    if (!virtual_address.announce) {
      wanted.emplace(loopback_, virtual_address.address);
      continue;
    }
    for (const auto& [ifindex, mac] : host_interfaces_) {
      wanted.emplace(ifindex, virtual_address.address);
    }
  }
  std::erase_if(placed_, [&](const Placed& placed) {
    if (wanted.contains(placed)) return false;
    remove(placed.first, placed.second);
    return true;
  });
  std::string refused;
  for (const Placed& place : wanted) {
    if (placed_.contains(place)) continue;
    const int error = add(place.first, place.second);
    if (error == 0) {
      placed_.insert(place);
      const auto host = host_interfaces_.find(place.first);
      if (host != host_interfaces_.end()) announce(host->first, place.second, host->second);
    } else if (error != EEXIST) {  // else it is somebody else's, who will remove it, too
      refused += fmt::format("{}{} ({})", refused.empty() ? "" : ", ", place.second.to_string(),
                             error_text(error));
    }
  }
  if (!refused.empty()) throw std::runtime_error("Linux refuses the virtual address " + refused);
}

int VirtualAddresses::add(unsigned ifindex, const IpAddress& address) {
  NetlinkRequest request = address_request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, ifindex, address,
                                           static_cast<std::uint8_t>(address.size() * 8));
  request.put_u8(IFA_PROTO, kAddressProtocol);
  if (!address.is_v4()) {
    // Deprecated from the start (RFC 4862, 5.5.4): never chosen as a source.
    const ifa_cacheinfo lifetimes{0, ~0U, 0, 0};
    std::array<std::uint8_t, sizeof lifetimes> bytes;
    std::memcpy(bytes.data(), &lifetimes, sizeof lifetimes);
    request.put(IFA_CACHEINFO, bytes);
  }
  return netlink_.request(request);
}

void VirtualAddresses::remove(unsigned ifindex, const IpAddress& address) {
  NetlinkRequest request = address_request(RTM_DELADDR, 0, ifindex, address,
                                           static_cast<std::uint8_t>(address.size() * 8));
  const int error = netlink_.request(request);
  if (error != 0 && error != EADDRNOTAVAIL && error != ENODEV) {
    spdlog::warn("virtual address {} cannot be removed: {}", address.to_string(),
                 error_text(error));
  }
}

void VirtualAddresses::remove_leftovers() {
  std::vector<IpAddress> leftovers;
  NetlinkRequest dump(RTM_GETADDR, NLM_F_DUMP);
  dump.fixed_header<ifaddrmsg>().ifa_family = AF_UNSPEC;
  netlink_.request(dump, [&](const nlmsghdr* message) {
    const auto* header = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(message));
    const NetlinkAttributes attributes(message, sizeof(ifaddrmsg));
    const nlattr* protocol = attributes[IFA_PROTO];
    if (header->ifa_index != loopback_ || protocol == nullptr ||
        mnl_attr_get_u8(protocol) != kAddressProtocol) {
      return;
    }
    const auto address = ip_from_attribute(header->ifa_family, attributes[IFA_ADDRESS]);
    if (address) leftovers.push_back(*address);
  });
  for (const IpAddress& address : leftovers) remove(loopback_, address);
}

}  // namespace crab
