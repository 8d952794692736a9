// SPDX-License-Identifier: Apache-2.0
// The connection-redirect option as pure functions on bytes: find, check, fill in place, insert.
// docs/wire-format.md draws it; kernel_patch/uapi/crab_redirect.h has the constants.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernel_patch/uapi/crab_redirect.h"
#include "lb/address.h"
#include "lb/byte_order.h"

namespace crab {

// Which form a service wants; the first three are the option's lengths 12, 16 and 20.
enum class RedirectForm : std::uint8_t {
  Address,     // IPv4, plain
  Tag,         // IPv6, whose tag is zero when the service has no key
  AddressTag,  // IPv4, keyed
  Paper,       // kind 42, inserted by the appliance (SoCC 2020, section 4)
};

// The option's length in bytes; for Paper, of the option alone.
constexpr std::size_t length_of(RedirectForm form) {
  switch (form) {
    case RedirectForm::Address:
      return CRAB_OPT_LEN_ADDR;
    case RedirectForm::Tag:
      return CRAB_OPT_LEN_TAG;
    case RedirectForm::AddressTag:
      return CRAB_OPT_LEN_ADDR_TAG;
    case RedirectForm::Paper:
      return CRAB_PAPER_OPT_LEN;
  }
  __builtin_unreachable();
}

// The one form a service of this family uses, unless it is set to the paper's.
constexpr RedirectForm form_for(Family family, bool keyed) {
  if (family == Family::Ipv6) return RedirectForm::Tag;
  return keyed ? RedirectForm::AddressTag : RedirectForm::Address;
}

using ServiceKey = std::array<std::uint8_t, CRAB_KEY_LEN>;
using Tag = std::array<std::uint8_t, CRAB_OPT_TAG_LEN>;

enum class OptionState : std::uint8_t {
  Absent,
  Offer,
  Redirect,
  ShortEcho,
  Paper,      // kind 42
  Malformed,  // the list or the option breaks a rule; nothing else in the result counts
};

struct FoundOption {
  OptionState state = OptionState::Absent;
  RedirectForm form = RedirectForm::Address;  // for Offer, Redirect and Paper
  std::uint8_t offset = 0;                    // bytes from the start of the option list
};

// Walks a TCP option list (RFC 9293, 3.1: what follows the 20 byte header up to the data offset).
// What stands after EOL does not exist; a zero, overlong or cut length and a second redirect
// option make the whole list malformed. Another experiment's ExID under kind 253 is passed over.
FoundOption find_redirect_option(std::span<const std::uint8_t> options);

// The same answer, sooner, for the list nearly every client sends: Linux's twenty bytes (MSS, SACK
// permitted, timestamps, NOP, window scale) and then a redirect option that ends the list.
inline FoundOption find_redirect_option_after_linux(std::span<const std::uint8_t> options);

// The bytes of a redirect option that a service always writes, tag zero, with their one's
// complement sum, so that filling is a copy and a checksum update is an addition.
struct FilledOption {
  std::array<std::uint8_t, CRAB_OPT_LEN_ADDR_TAG> bytes{};
  std::uint8_t length = 0;
  // RFC 1624 difference between a well-formed OFFER of this form and these bytes, for an option
  // at an even offset; byte-swapped for an odd one.
  std::uint16_t delta = 0;
};

// Precondition: 1 <= node <= 255; address is of the form's family.
FilledOption make_filled_option(RedirectForm form, std::uint8_t node, const IpAddress& address,
                                be16 port);

// What a tag binds together (DESIGN, section 2); all of one family.
struct TagInput {
  IpAddress virtual_address;
  be16 virtual_port{};
  IpAddress backend_address;
  be16 backend_port{};
  IpAddress client_address;
  be16 client_port{};
  be32 isn{};
};

ServiceKey derive_client_key(const ServiceKey& service_key, const IpAddress& client_address);
Tag make_tag(const ServiceKey& service_key, const TagInput& input);

// Where in the option the tag stands; only for forms that carry one.
constexpr std::size_t tag_offset(RedirectForm form) {
  return form == RedirectForm::Tag ? CRAB_OPT_OFF_TAG : CRAB_OPT_OFF_TAG_AFTER_ADDR;
}

namespace detail {

// Masked compare with the kinds and lengths of Linux's list: MSS 2,4; SACK permitted 4,2;
// timestamps 8,10; NOP; window scale 3,3.
inline bool starts_like_linux(const std::uint8_t* options) {
  constexpr std::uint64_t kMask0 = 0xffff'ffff'0000'ffff;
  constexpr std::uint64_t kWant0 = 0x0a08'0204'0000'0402;
  constexpr std::uint32_t kMask2 = 0x00ff'ffff;
  constexpr std::uint32_t kWant2 = 0x0003'0301;
  return (load<std::uint64_t>(options) & kMask0) == kWant0 &&
         (load<std::uint32_t>(options + 16) & kMask2) == kWant2;
}

}  // namespace detail

inline FoundOption find_redirect_option_after_linux(std::span<const std::uint8_t> options) {
  constexpr std::size_t kLinux = 20;
  // Kind, length, ExID, version and flags of a plain offer; then node, port and address, all zero.
  constexpr std::uint64_t kOffer = 0x0000'0012'abc4'0cfd;
  const std::uint8_t* own = options.data() + kLinux;
  if (options.size() == kLinux + CRAB_OPT_LEN_ADDR && load<std::uint64_t>(own) == kOffer &&
      load<std::uint32_t>(own + 8) == 0 && detail::starts_like_linux(options.data())) {
    return {OptionState::Offer, RedirectForm::Address, kLinux};
  }
  return find_redirect_option(options);
}

}  // namespace crab
