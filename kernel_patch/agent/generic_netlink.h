// SPDX-License-Identifier: Apache-2.0
// Generic netlink: one socket, requests and dumps, and the kernel's own words when it refuses.
// One thread at a time. The family is that of the network namespace in which the socket was made.
#pragma once

#include <libmnl/libmnl.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernel_patch/agent/agent_error.h"

namespace crab {

// A request under construction: nlmsghdr, genlmsghdr, attributes. Who sends it fills in the
// family's number, flags and sequence number.
using NetlinkMessage = std::vector<std::uint8_t>;

// What the kernel refused, in its own words if it has any (extended ack).
class NetlinkRefusal : public AgentError {
 public:
  NetlinkRefusal(const std::string& what, int error, std::string words,
                 std::optional<std::uint32_t> offset)
      : AgentError(what), error_(error), words_(std::move(words)), offset_(offset) {}

  int error() const { return error_; }  // errno
  const std::string& words() const { return words_; }
  // Of the attribute that is wrong, in the request, in bytes.
  std::optional<std::uint32_t> offset() const { return offset_; }

 private:
  int error_;
  std::string words_;
  std::optional<std::uint32_t> offset_;
};

// From an NLMSG_ERROR or NLMSG_DONE. Empty if it is an acknowledgement.
std::optional<NetlinkRefusal> refusal_in(const nlmsghdr* message);

// The socket itself, so that tests can be the kernel.
class NetlinkChannel {
 public:
  virtual ~NetlinkChannel() = default;
  // Whole messages both ways. Throw AgentError.
  virtual void send(std::span<const std::uint8_t> message) = 0;
  virtual std::size_t receive(std::span<std::uint8_t> buffer) = 0;
};

// Throws AgentError.
std::unique_ptr<NetlinkChannel> open_generic_netlink();

struct NetlinkFamily {
  std::uint16_t id = 0;
  std::uint32_t version = 0;
};

class GenericNetlink {
 public:
  using Handler = std::function<void(const nlmsghdr*)>;

  explicit GenericNetlink(std::unique_ptr<NetlinkChannel> channel);

  // Asks for the family by its name, upon which the kernel loads a module that has it as an alias.
  // Empty if there is none. Throws AgentError.
  std::optional<NetlinkFamily> resolve(const std::string& name);
  // The same among the families that are registered; loads nothing.
  std::optional<NetlinkFamily> find(const std::string& name);

  // Sends and waits for the acknowledgement; answers before it go to the handler. Throws
  // NetlinkRefusal, and AgentError if the socket itself fails.
  void request(std::uint16_t family, NetlinkMessage message, const Handler& handler = {});
  // The same for a dump. False if what was listed changed meanwhile, so that it may be no moment's.
  bool dump(std::uint16_t family, NetlinkMessage message, const Handler& handler);

 private:
  bool transact(std::uint16_t family, std::uint16_t flags, NetlinkMessage* message,
                const Handler& handler);

  std::unique_ptr<NetlinkChannel> channel_;
  std::uint32_t sequence_ = 0;
  std::vector<std::uint8_t> buffer_;
};

// A message of that command with room for attributes of so many bytes.
NetlinkMessage generic_netlink_message(std::uint8_t command, std::uint8_t version,
                                       std::size_t attribute_bytes = 0);
inline nlmsghdr* header_of(NetlinkMessage* message) {
  return reinterpret_cast<nlmsghdr*>(message->data());
}
// Takes off the room that was not used.
void finish(NetlinkMessage* message);

}  // namespace crab
