// SPDX-License-Identifier: Apache-2.0
// The kernel's side of generic netlink, as far as the family tcp_redirect needs it: answers to
// requests, one queued for each, in as many datagrams as a test wants.
#pragma once

#include <libmnl/libmnl.h>
#include <linux/genetlink.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "kernel_patch/agent/generic_netlink.h"

namespace crab {

using Datagram = std::vector<std::uint8_t>;

// One message of an answer. put adds its attributes; the sequence number is the request's.
inline Datagram answer(std::uint16_t type, std::uint16_t flags,
                       const std::function<void(nlmsghdr*)>& put) {
  Datagram bytes(8192);
  nlmsghdr* header = mnl_nlmsg_put_header(bytes.data());
  header->nlmsg_type = type;
  header->nlmsg_flags = flags;
  put(header);
  bytes.resize(header->nlmsg_len);
  return bytes;
}

// Of a family.
inline Datagram record(std::uint16_t family, const std::function<void(nlmsghdr*)>& put,
                       std::uint16_t flags = 0) {
  return answer(family, flags, [&put](nlmsghdr* header) {
    mnl_nlmsg_put_extra_header(header, sizeof(genlmsghdr));
    put(header);
  });
}

inline void put_int(nlmsghdr* header, int value) {
  std::memcpy(mnl_nlmsg_put_extra_header(header, sizeof value), &value, sizeof value);
}

inline Datagram done(std::uint16_t flags = 0, int error = 0) {
  return answer(NLMSG_DONE, flags, [error](nlmsghdr* header) { put_int(header, error); });
}

// As the kernel writes it with NETLINK_CAP_ACK: the request's header alone is quoted.
inline Datagram refusal(int error, const char* words = nullptr, std::uint32_t offset = 0) {
  const bool has_words = words != nullptr;
  const auto flags = static_cast<std::uint16_t>(NLM_F_CAPPED | (has_words ? NLM_F_ACK_TLVS : 0));
  return answer(NLMSG_ERROR, flags, [=](nlmsghdr* header) {
    auto* body = static_cast<nlmsgerr*>(mnl_nlmsg_put_extra_header(header, sizeof(nlmsgerr)));
    body->error = -error;
    body->msg.nlmsg_len = 1 << 20;
    if (has_words) mnl_attr_put_strz(header, NLMSGERR_ATTR_MSG, words);
    if (offset != 0) mnl_attr_put_u32(header, NLMSGERR_ATTR_OFFS, offset);
  });
}

inline Datagram acknowledgement() { return refusal(0); }

inline Datagram family(const char* name, std::uint16_t id, std::uint32_t version) {
  return record(GENL_ID_CTRL, [=](nlmsghdr* header) {
    mnl_attr_put_strz(header, CTRL_ATTR_FAMILY_NAME, name);
    mnl_attr_put_u16(header, CTRL_ATTR_FAMILY_ID, id);
    mnl_attr_put_u32(header, CTRL_ATTR_VERSION, version);
  });
}

// Several messages in one datagram.
inline Datagram together(const std::vector<Datagram>& messages) {
  Datagram all;
  for (const Datagram& message : messages) {
    all.insert(all.end(), message.begin(), message.end());
    all.resize(MNL_ALIGN(all.size()));
  }
  return all;
}

struct Exchanges {
  std::deque<std::vector<Datagram>> answers;  // to the requests to come
  std::vector<Datagram> requests;             // that came
};

class FakeKernel : public NetlinkChannel {
 public:
  explicit FakeKernel(Exchanges* exchanges) : exchanges_(exchanges) {}

  void send(std::span<const std::uint8_t> message) override {
    exchanges_->requests.emplace_back(message.begin(), message.end());
    if (exchanges_->answers.empty()) throw AgentError("a request that the test did not expect");
    const auto* header = reinterpret_cast<const nlmsghdr*>(message.data());
    for (Datagram& datagram : exchanges_->answers.front()) {
      number(&datagram, header->nlmsg_seq);
      waiting_.push_back(std::move(datagram));
    }
    exchanges_->answers.pop_front();
  }

  std::size_t receive(std::span<std::uint8_t> buffer) override {
    if (waiting_.empty()) throw AgentError("nothing more to receive");
    const Datagram datagram = std::move(waiting_.front());
    waiting_.pop_front();
    std::copy(datagram.begin(), datagram.end(), buffer.begin());
    return datagram.size();
  }

 private:
  static void number(Datagram* datagram, std::uint32_t sequence) {
    auto* message = reinterpret_cast<nlmsghdr*>(datagram->data());
    for (int left = static_cast<int>(datagram->size()); mnl_nlmsg_ok(message, left);
         message = mnl_nlmsg_next(message, &left)) {
      if (message->nlmsg_seq == 0) message->nlmsg_seq = sequence;
    }
  }

  Exchanges* exchanges_;
  std::deque<Datagram> waiting_;
};

}  // namespace crab
