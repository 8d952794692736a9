// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/backend_argument.h"

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

namespace crab {
namespace {

std::optional<std::uint32_t> parse_number(std::string_view digits) {
  std::uint32_t number = 0;
  const char* end = digits.data() + digits.size();
  const auto [rest, error] = std::from_chars(digits.data(), end, number);
  if (error != std::errc() || rest != end) return std::nullopt;
  return number;
}

}  // namespace

std::string parse_backend(const std::string& text, v1::Backend* backend) {
  const std::string wrong = "'" + text + "' is not " + kBackendArgument;
  const auto equals = text.find('=');
  if (equals == std::string::npos) return wrong;
  backend->set_id(text.substr(0, equals));
  std::string_view rest = std::string_view(text).substr(equals + 1);

  constexpr std::string_view kWeight = ",weight=";
  if (const auto comma = rest.find(','); comma != std::string_view::npos) {
    if (!rest.substr(comma).starts_with(kWeight)) return wrong;
    const auto weight = parse_number(rest.substr(comma + kWeight.size()));
    if (!weight) return wrong;
    backend->set_weight(*weight);
    rest = rest.substr(0, comma);
  }
  const auto colon = rest.rfind(':');
  if (colon == std::string_view::npos) return wrong;
  const auto port = parse_number(rest.substr(colon + 1));
  std::string_view address = rest.substr(0, colon);
  const bool bracketed = address.starts_with('[') && address.ends_with(']');
  if (bracketed) address = address.substr(1, address.size() - 2);
  if (!port || (address.find(':') != std::string_view::npos) != bracketed) return wrong;
  backend->set_address(std::string(address));
  backend->set_port(*port);
  return "";
}

}  // namespace crab
