// SPDX-License-Identifier: Apache-2.0
#include "lb/redirect_option.h"

#include <algorithm>

#include "kernel_patch/uapi/crab_siphash.h"
#include "lb/checksum.h"

namespace crab {
namespace {

constexpr std::uint8_t kVersion = CRAB_OPT_VERSION << CRAB_OPT_VERSION_SHIFT;

constexpr std::uint8_t flags_of(RedirectForm form) {
  switch (form) {
    case RedirectForm::Address:
      return CRAB_OPT_F_ADDRESS;
    case RedirectForm::Tag:
      return CRAB_OPT_F_TAG;
    case RedirectForm::AddressTag:
      return CRAB_OPT_F_ADDRESS | CRAB_OPT_F_TAG;
    case RedirectForm::Paper:
      return 0;
  }
  __builtin_unreachable();
}

bool all_zero(std::span<const std::uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](auto b) { return b == 0; });
}

// Checks one option of kind 253 and our ExID; the length byte is known to fit the list.
FoundOption check_own(std::span<const std::uint8_t> option) {
  constexpr FoundOption kMalformed{OptionState::Malformed, {}, 0};
  if (option.size() == CRAB_OPT_LEN_SHORT) return {OptionState::ShortEcho, {}, 0};
  RedirectForm form;
  switch (option.size()) {
    case CRAB_OPT_LEN_ADDR:
      form = RedirectForm::Address;
      break;
    case CRAB_OPT_LEN_TAG:
      form = RedirectForm::Tag;
      break;
    case CRAB_OPT_LEN_ADDR_TAG:
      form = RedirectForm::AddressTag;
      break;
    default:
      return kMalformed;
  }
  const std::uint8_t expected = kVersion | flags_of(form);
  const std::uint8_t ver_flags = option[CRAB_OPT_OFF_VER_FLAGS];
  if (ver_flags == (expected | CRAB_OPT_F_REDIRECT)) {
    if (option[CRAB_OPT_OFF_NODE] == 0) return kMalformed;
    return {OptionState::Redirect, form, 0};
  }
  if (ver_flags != expected || !all_zero(option.subspan(CRAB_OPT_OFF_NODE))) return kMalformed;
  return {OptionState::Offer, form, 0};
}

template <std::size_t kSize>
class MessageWriter {
 public:
  void address(const IpAddress& a) {
    std::copy_n(a.bytes.begin(), a.size(), bytes_.begin() + n_);
    n_ += static_cast<unsigned>(a.size());
  }
  template <typename T>
  void word(T value) {
    store(bytes_.data() + n_, value);
    n_ += static_cast<unsigned>(sizeof value);
  }
  const std::uint8_t* data() const { return bytes_.data(); }
  unsigned size() const { return n_; }

 private:
  std::array<std::uint8_t, kSize> bytes_;
  unsigned n_ = 0;
};

}  // namespace

FoundOption find_redirect_option(std::span<const std::uint8_t> options) {
  constexpr FoundOption kMalformed{OptionState::Malformed, {}, 0};
  FoundOption found;
  std::size_t i = 0;
  while (i < options.size()) {
    const std::uint8_t kind = options[i];
    if (kind == CRAB_TCPOPT_EOL) break;
    if (kind == CRAB_TCPOPT_NOP) {
      ++i;
      continue;
    }
    if (i + 1 >= options.size()) return kMalformed;
    const std::uint8_t length = options[i + 1];
    if (length < 2 || i + length > options.size()) return kMalformed;
    const auto option = options.subspan(i, length);

    FoundOption candidate;
    if (kind == CRAB_OPT_KIND && length >= CRAB_OPT_LEN_SHORT &&
        load<be16>(option.data() + CRAB_OPT_OFF_EXID) == to_be(std::uint16_t{CRAB_OPT_EXID})) {
      candidate = check_own(option);
    } else if (kind == CRAB_PAPER_OPT_KIND) {
      candidate.state = length == CRAB_PAPER_OPT_LEN ? OptionState::Paper : OptionState::Malformed;
      candidate.form = RedirectForm::Paper;
    }
    if (candidate.state != OptionState::Absent) {
      if (candidate.state == OptionState::Malformed || found.state != OptionState::Absent) {
        return kMalformed;
      }
      found = candidate;
      found.offset = static_cast<std::uint8_t>(i);
    }
    i += length;
  }
  return found;
}

FilledOption make_filled_option(RedirectForm form, std::uint8_t node, const IpAddress& address,
                                be16 port) {
  FilledOption filled;
  filled.length = static_cast<std::uint8_t>(length_of(form));
  auto* bytes = filled.bytes.data();
  if (form == RedirectForm::Paper) {
    bytes[0] = CRAB_PAPER_OPT_KIND;
    bytes[1] = CRAB_PAPER_OPT_LEN;
    std::copy_n(address.bytes.begin(), 4, bytes + 2);
    filled.delta = fold(sum_bytes(bytes, CRAB_PAPER_OPT_LEN));
    return filled;
  }
  bytes[0] = CRAB_OPT_KIND;
  bytes[1] = filled.length;
  store(bytes + CRAB_OPT_OFF_EXID, to_be(std::uint16_t{CRAB_OPT_EXID}));
  bytes[CRAB_OPT_OFF_VER_FLAGS] = kVersion | flags_of(form);
  const auto offer_sum = sum_bytes(bytes, filled.length);

  bytes[CRAB_OPT_OFF_VER_FLAGS] |= CRAB_OPT_F_REDIRECT;
  bytes[CRAB_OPT_OFF_NODE] = node;
  store(bytes + CRAB_OPT_OFF_PORT, port);
  if (form != RedirectForm::Tag) {
    std::copy_n(address.bytes.begin(), 4, bytes + CRAB_OPT_OFF_ADDR);
  }
  filled.delta = difference(offer_sum, sum_bytes(bytes, filled.length));
  return filled;
}

ServiceKey derive_client_key(const ServiceKey& service_key, const IpAddress& client_address) {
  ServiceKey client_key;
  crab_siphash24_128(service_key.data(), client_address.bytes.data(),
                     static_cast<unsigned>(client_address.size()), client_key.data());
  return client_key;
}

Tag make_tag(const ServiceKey& service_key, const TagInput& input) {
  MessageWriter<CRAB_TAG_MSG_LEN6> message;
  message.address(input.virtual_address);
  message.word(input.virtual_port);
  message.address(input.backend_address);
  message.word(input.backend_port);
  message.address(input.client_address);
  message.word(input.client_port);
  message.word(input.isn);
  const auto client_key = derive_client_key(service_key, input.client_address);
  Tag tag;
  crab_sip_store_le64(tag.data(),
                      crab_siphash24(client_key.data(), message.data(), message.size()));
  return tag;
}

}  // namespace crab
