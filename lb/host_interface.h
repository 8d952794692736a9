// SPDX-License-Identifier: Apache-2.0
// The TAP through which Linux sees a port, and the addresses on it: the configured ones, and the
// virtual ones as services come and go. Control thread only.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/dataplane.h"
#include "lb/address.h"
#include "lb/netlink.h"

namespace crab {

// An address with its prefix, as it stands in the configuration: 10.0.0.2/24.
struct InterfaceAddress {
  IpAddress address;
  std::uint8_t prefix_length = 0;

  static std::optional<InterfaceAddress> parse(std::string_view text);
};

struct HostInterfaceSettings {
  std::string name;
  MacAddress mac{};  // the port's
  std::uint16_t mtu = 1500;
  std::vector<InterfaceAddress> addresses;
  std::vector<IpAddress> gateways;
};

class HostInterface {
 public:
  // Makes the TAP, sets its sysctls, addresses and default routes, and brings it up. It goes when
  // the object does, however the process ends. Throws StartupError.
  HostInterface(const HostInterfaceSettings& settings, NetlinkSocket& netlink);
  ~HostInterface();
  HostInterface(const HostInterface&) = delete;
  HostInterface& operator=(const HostInterface&) = delete;

  const std::string& name() const { return name_; }
  unsigned ifindex() const { return ifindex_; }
  int tap() const { return tap_; }  // non-blocking; one frame for each read or write

  // Makes Linux see the port's link, so that routes and neighbours follow it.
  void set_carrier(bool up);

 private:
  void open_tap();
  void bring_up(const HostInterfaceSettings& settings, NetlinkSocket& netlink);

  std::string name_;
  int tap_ = -1;
  unsigned ifindex_ = 0;
  bool carrier_ = true;
};

// The virtual addresses of all services. Announced ones are /32 and /128 on every host interface,
// where Linux answers ARP and neighbour solicitations for them; the others stand on lo, where
// nobody asks, so that ping and a routing daemon find them all the same.
class VirtualAddresses {
 public:
  // By ifindex, with the MAC addresses to announce. Removes from lo what a killed process left.
  VirtualAddresses(std::map<unsigned, MacAddress> host_interfaces, NetlinkSocket& netlink);
  ~VirtualAddresses();
  VirtualAddresses(const VirtualAddresses&) = delete;
  VirtualAddresses& operator=(const VirtualAddresses&) = delete;

  // Exactly these from now on; what is new on a host interface is announced. Throws
  // std::runtime_error, naming them, if Linux refuses some; the others are in force then, and
  // another call tries again.
  void set(const std::vector<VirtualAddress>& addresses);

 private:
  int add(unsigned ifindex, const IpAddress& address);  // 0, or the kernel's error number
  void remove(unsigned ifindex, const IpAddress& address);
  void remove_leftovers();

  using Placed = std::pair<unsigned, IpAddress>;  // ifindex, address

  std::map<unsigned, MacAddress> host_interfaces_;
  unsigned loopback_;
  NetlinkSocket& netlink_;
  std::set<Placed> placed_;
};

}  // namespace crab
