// SPDX-License-Identifier: Apache-2.0
// rtnetlink by libmnl, as much of it as a balancer needs: build a request, wait for the answer,
// follow notifications. Control thread only.
#pragma once

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

#include <array>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string_view>

#include "lb/address.h"

namespace crab {

int to_af(Family family);
// nullopt unless `af` and the attribute's length are those of an IP address.
std::optional<IpAddress> ip_from_attribute(int af, const nlattr* attribute);

// One rtnetlink request under construction; big enough for any that we make.
class NetlinkRequest {
 public:
  NetlinkRequest(std::uint16_t type, std::uint16_t flags);
  // The family's fixed header (ifinfomsg, ifaddrmsg, rtmsg, ndmsg), zeroed; first of all calls.
  template <typename T>
  T& fixed_header() {
    return *static_cast<T*>(mnl_nlmsg_put_extra_header(header(), sizeof(T)));
  }
  void put(std::uint16_t attribute, std::span<const std::uint8_t> bytes) {
    mnl_attr_put(header(), attribute, bytes.size(), bytes.data());
  }
  void put(std::uint16_t attribute, const IpAddress& address) {
    put(attribute, std::span(address.bytes.data(), address.size()));
  }
  void put_u32(std::uint16_t attribute, std::uint32_t value) {
    mnl_attr_put_u32(header(), attribute, value);
  }
  void put_u8(std::uint16_t attribute, std::uint8_t value) {
    mnl_attr_put_u8(header(), attribute, value);
  }
  nlmsghdr* header() { return reinterpret_cast<nlmsghdr*>(buffer_.data()); }

 private:
  alignas(nlmsghdr) std::array<std::uint8_t, 512> buffer_{};
};

// The attributes of one message by number; a later one of the same number wins.
class NetlinkAttributes {
 public:
  // `header_bytes` is the size of the family's fixed header.
  NetlinkAttributes(const nlmsghdr* message, std::size_t header_bytes);
  const nlattr* operator[](unsigned number) const {
    return number < by_number_.size() ? by_number_[number] : nullptr;
  }

 private:
  std::array<const nlattr*, 64> by_number_{};
};

class NetlinkSocket {
 public:
  // With groups (RTNLGRP_*), the socket is for notifications and does not block.
  // Throws std::system_error.
  explicit NetlinkSocket(std::initializer_list<unsigned> groups = {});
  ~NetlinkSocket();
  NetlinkSocket(const NetlinkSocket&) = delete;
  NetlinkSocket& operator=(const NetlinkSocket&) = delete;

  int fd() const { return mnl_socket_get_fd(socket_); }

  using Handler = std::function<void(const nlmsghdr*)>;
  // Sends and waits for the kernel's acknowledgement or, for a dump, its end; the messages that
  // come before it go to the handler. Returns 0 or the kernel's error number; throws
  // std::system_error if the socket itself fails.
  int request(NetlinkRequest& request, const Handler& handler = {});
  // Delivers what is waiting. False when the kernel had to drop some of it: read all state again.
  bool receive(const Handler& handler);

 private:
  mnl_socket* socket_;
  std::uint32_t sequence_ = 0;
  std::array<std::uint8_t, 32768> buffer_;  // what the kernel's dumps ask for at most
};

}  // namespace crab
