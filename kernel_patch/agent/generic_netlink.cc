// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/generic_netlink.h"

#include <fmt/format.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <system_error>

namespace crab {
namespace {

// The kernel makes its dumps no longer than 32 KiB; an acknowledgement is short (NETLINK_CAP_ACK).
constexpr std::size_t kBufferBytes = 65536;
// 4,096 services with two keys each and 1,024 prefixes are about 400 KB; the kernel counts its own
// overhead too.
constexpr int kSendBytes = 2 << 20;

std::string words_of(int error) { return std::generic_category().message(error); }

class KernelChannel : public NetlinkChannel {
 public:
  KernelChannel() : socket_(mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC), mnl_socket_close) {
    if (!socket_ || mnl_socket_bind(socket_.get(), 0, MNL_SOCKET_AUTOPID) != 0) {
      throw AgentError(fmt::format("generic netlink: {}", words_of(errno)));
    }
    int on = 1;
    for (const int option : {NETLINK_EXT_ACK, NETLINK_CAP_ACK}) {
      mnl_socket_setsockopt(socket_.get(), option, &on, sizeof on);
    }
    const int fd = mnl_socket_get_fd(socket_.get());
    // Without the privilege as much as anyone may: it does for what only looks.
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &kSendBytes, sizeof kSendBytes) != 0) {
      setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kSendBytes, sizeof kSendBytes);
    }
  }

  void send(std::span<const std::uint8_t> message) override {
    if (mnl_socket_sendto(socket_.get(), message.data(), message.size()) < 0) {
      throw AgentError(fmt::format("generic netlink request: {}", words_of(errno)));
    }
  }

  std::size_t receive(std::span<std::uint8_t> buffer) override {
    for (;;) {
      const ssize_t n = mnl_socket_recvfrom(socket_.get(), buffer.data(), buffer.size());
      if (n >= 0) return static_cast<std::size_t>(n);
      if (errno != EINTR) {
        throw AgentError(fmt::format("generic netlink answer: {}", words_of(errno)));
      }
    }
  }

 private:
  std::unique_ptr<mnl_socket, int (*)(mnl_socket*)> socket_;
};

struct ErrorDetails {
  std::string words;
  std::optional<std::uint32_t> offset;
};

int collect_detail(const nlattr* attribute, void* data) {
  auto* details = static_cast<ErrorDetails*>(data);
  const unsigned type = mnl_attr_get_type(attribute);
  if (type == NLMSGERR_ATTR_MSG && mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) == 0) {
    details->words = mnl_attr_get_str(attribute);
  } else if (type == NLMSGERR_ATTR_OFFS && mnl_attr_validate(attribute, MNL_TYPE_U32) == 0) {
    details->offset = mnl_attr_get_u32(attribute);
  }
  return MNL_CB_OK;
}

// Where the extended ack's attributes begin; both kinds of end carry an error number first.
std::size_t details_at(const nlmsghdr* message) {
  if (message->nlmsg_type == NLMSG_DONE) return sizeof(int);
  const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message));
  const bool is_capped = (message->nlmsg_flags & NLM_F_CAPPED) != 0;
  const std::size_t quoted = is_capped ? 0 : error->msg.nlmsg_len - sizeof(nlmsghdr);
  return sizeof(nlmsgerr) + MNL_ALIGN(quoted);
}

std::optional<NetlinkFamily> family_in(const nlmsghdr* message, const std::string& name) {
  struct Found {
    const char* name = nullptr;
    NetlinkFamily family;
  } found;
  mnl_attr_parse(
      message, sizeof(genlmsghdr),
      [](const nlattr* attribute, void* data) {
        auto* to = static_cast<Found*>(data);
        const unsigned type = mnl_attr_get_type(attribute);
        if (type == CTRL_ATTR_FAMILY_ID && mnl_attr_validate(attribute, MNL_TYPE_U16) == 0) {
          to->family.id = mnl_attr_get_u16(attribute);
        } else if (type == CTRL_ATTR_VERSION && mnl_attr_validate(attribute, MNL_TYPE_U32) == 0) {
          to->family.version = mnl_attr_get_u32(attribute);
        } else if (type == CTRL_ATTR_FAMILY_NAME &&
                   mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) == 0) {
          to->name = mnl_attr_get_str(attribute);
        }
        return MNL_CB_OK;
      },
      &found);
  if (found.name == nullptr || found.name != name || found.family.id == 0) return std::nullopt;
  return found.family;
}

}  // namespace

std::optional<NetlinkRefusal> refusal_in(const nlmsghdr* message) {
  if (mnl_nlmsg_get_payload_len(message) < sizeof(int)) return std::nullopt;
  int error = 0;
  std::memcpy(&error, mnl_nlmsg_get_payload(message), sizeof error);
  if (error >= 0) return std::nullopt;
  ErrorDetails details;
  const std::size_t length = mnl_nlmsg_get_payload_len(message);
  const bool has_details = (message->nlmsg_flags & NLM_F_ACK_TLVS) != 0 &&
                           (message->nlmsg_type == NLMSG_DONE || length >= sizeof(nlmsgerr));
  if (const std::size_t at = has_details ? details_at(message) : length; at < length) {
    mnl_attr_parse(message, static_cast<unsigned>(at), collect_detail, &details);
  }
  const std::string what = details.words.empty()
                               ? words_of(-error)
                               : fmt::format("{} ({})", details.words, words_of(-error));
  return NetlinkRefusal(what, -error, details.words, details.offset);
}

std::unique_ptr<NetlinkChannel> open_generic_netlink() { return std::make_unique<KernelChannel>(); }

NetlinkMessage generic_netlink_message(std::uint8_t command, std::uint8_t version,
                                       std::size_t attribute_bytes) {
  NetlinkMessage message(MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(genlmsghdr)) + attribute_bytes);
  nlmsghdr* header = mnl_nlmsg_put_header(message.data());
  auto* generic = static_cast<genlmsghdr*>(mnl_nlmsg_put_extra_header(header, sizeof(genlmsghdr)));
  generic->cmd = command;
  generic->version = version;
  return message;
}

void finish(NetlinkMessage* message) { message->resize(header_of(message)->nlmsg_len); }

GenericNetlink::GenericNetlink(std::unique_ptr<NetlinkChannel> channel)
    : channel_(std::move(channel)), buffer_(kBufferBytes) {}

std::optional<NetlinkFamily> GenericNetlink::resolve(const std::string& name) {
  NetlinkMessage message =
      generic_netlink_message(CTRL_CMD_GETFAMILY, 1, MNL_ATTR_HDRLEN + MNL_ALIGN(name.size() + 1));
  mnl_attr_put_strz(header_of(&message), CTRL_ATTR_FAMILY_NAME, name.c_str());
  std::optional<NetlinkFamily> found;
  try {
    request(GENL_ID_CTRL, std::move(message),
            [&](const nlmsghdr* answer) { found = family_in(answer, name); });
  } catch (const NetlinkRefusal& refusal) {
    if (refusal.error() != ENOENT) throw;
  }
  return found;
}

std::optional<NetlinkFamily> GenericNetlink::find(const std::string& name) {
  std::optional<NetlinkFamily> found;
  dump(GENL_ID_CTRL, generic_netlink_message(CTRL_CMD_GETFAMILY, 1), [&](const nlmsghdr* answer) {
    if (!found) found = family_in(answer, name);
  });
  return found;
}

void GenericNetlink::request(std::uint16_t family, NetlinkMessage message, const Handler& handler) {
  transact(family, NLM_F_REQUEST | NLM_F_ACK, &message, handler);
}

bool GenericNetlink::dump(std::uint16_t family, NetlinkMessage message, const Handler& handler) {
  return transact(family, NLM_F_REQUEST | NLM_F_DUMP, &message, handler);
}

bool GenericNetlink::transact(std::uint16_t family, std::uint16_t flags, NetlinkMessage* message,
                              const Handler& handler) {
  finish(message);
  nlmsghdr* header = header_of(message);
  header->nlmsg_type = family;
  header->nlmsg_flags = flags;
  header->nlmsg_seq = ++sequence_;
  channel_->send(*message);
  bool is_consistent = true;
  for (;;) {
    int left = static_cast<int>(channel_->receive(buffer_));
    const auto* answer = reinterpret_cast<const nlmsghdr*>(buffer_.data());
    for (; mnl_nlmsg_ok(answer, left); answer = mnl_nlmsg_next(answer, &left)) {
      if (answer->nlmsg_seq != sequence_) continue;  // of a request that was given up
      if ((answer->nlmsg_flags & NLM_F_DUMP_INTR) != 0) is_consistent = false;
      if (answer->nlmsg_type == NLMSG_ERROR || answer->nlmsg_type == NLMSG_DONE) {
        if (auto refusal = refusal_in(answer)) throw std::move(*refusal);
        return is_consistent;
      }
      if (answer->nlmsg_type == family && handler) handler(answer);
    }
  }
}

}  // namespace crab
