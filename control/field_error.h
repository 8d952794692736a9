// SPDX-License-Identifier: Apache-2.0
// One finding about one field: the currency of the configuration file, the validation and the API.
#pragma once

#include <compare>
#include <concepts>
#include <string>
#include <vector>

namespace crab {

struct FieldError {
  std::string field;  // path inside the message: backends[1].address
  std::string why;    // completes "FIELD: ...", without a full stop

  auto operator<=>(const FieldError&) const = default;
};
using FieldErrors = std::vector<FieldError>;

// backends[1]; i is an index of either signedness, as containers and protobuf have them.
template <std::integral Index>
std::string indexed(const std::string& path, Index i) {
  return path + "[" + std::to_string(i) + "]";
}

}  // namespace crab
