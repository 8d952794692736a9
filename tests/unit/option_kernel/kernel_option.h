// SPDX-License-Identifier: Apache-2.0
// The kernel's option code, and the appliance's words for what it finds.
#pragma once

#include <algorithm>
#include <span>

#include "lb/redirect_option.h"

extern "C" {
#include "option.h"
}

namespace crab::test {

inline tcp_redirect_option find_in_kernel(std::span<const std::uint8_t> list) {
  tcp_redirect_option found;
  tcp_redirect_find_option(list.data(), static_cast<unsigned>(list.size()), &found);
  return found;
}

constexpr OptionState state_of(const tcp_redirect_option& found) {
  switch (found.state) {
    case TCP_REDIRECT_OPTION_ABSENT:
      return OptionState::Absent;
    case TCP_REDIRECT_OPTION_OFFER:
      return OptionState::Offer;
    case TCP_REDIRECT_OPTION_REDIRECT:
      return OptionState::Redirect;
    case TCP_REDIRECT_OPTION_SHORT:
      return OptionState::ShortEcho;
    case TCP_REDIRECT_OPTION_PAPER:
      return OptionState::Paper;
    default:
      return OptionState::Malformed;
  }
}

// Whether both codecs say the same of a list: its state and, unless it is malformed, which bytes
// are the option.
inline bool codecs_agree(std::span<const std::uint8_t> list) {
  const FoundOption appliance = find_redirect_option(list);
  const tcp_redirect_option kernel = find_in_kernel(list);
  if (state_of(kernel) != appliance.state) return false;
  if (appliance.state == OptionState::Malformed || appliance.state == OptionState::Absent) {
    return kernel.len == 0;
  }
  const auto option = list.subspan(appliance.offset, kernel.len);
  return kernel.len == option[1] && std::equal(option.begin(), option.end(), kernel.bytes);
}

}  // namespace crab::test
