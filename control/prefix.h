// SPDX-License-Identifier: Apache-2.0
// An address with a prefix length, as configurations write it: 10.0.0.2/24, fd00::2/64.
#pragma once

#include <optional>
#include <string_view>

#include "lb/address.h"

namespace crab {

struct Prefix {
  IpAddress address;  // as written: host bits stay
  unsigned length = 0;

  // Empty unless text is ADDRESS/LENGTH with a length that the family allows.
  static std::optional<Prefix> parse(std::string_view text);

  bool contains(const IpAddress& other) const;
  // The address with all host bits zero, or all one; for what is neither a host's.
  IpAddress first() const;
  IpAddress last() const;
};

// fe80::/10 (RFC 4291, 2.5.6): names a host only together with an interface.
bool is_link_local(const IpAddress& address);

}  // namespace crab
