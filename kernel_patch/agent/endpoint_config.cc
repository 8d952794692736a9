// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/endpoint_config.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <array>
#include <charconv>
#include <map>
#include <set>
#include <tuple>

#include "control/validate.h"
#include "kernel_patch/agent/agent_error.h"
#include "kernel_patch/agent/mapped_address.h"
#include "lb/redirect_option.h"

namespace crab {
namespace {

FieldErrors check(const v1::Config& config) {
  FieldErrors errors = validate_agent(config.agent());
  std::map<std::tuple<std::string, std::uint32_t>, int> seen;
  for (int i = 0; i < config.services_size(); ++i) {
    const v1::Service& service = config.services(i);
    const std::string path = fmt::format("services[{}]", i);
    const FieldErrors found = validate_service(service, path);
    errors.insert(errors.end(), found.begin(), found.end());
    const auto address = IpAddress::parse(service.address());
    if (!address) continue;
    const auto [other, is_new] = seen.emplace(std::tuple(address->to_string(), service.port()), i);
    if (!is_new) {
      errors.push_back({path + ".address",
                        fmt::format("services[{}] has the same address and port", other->second)});
    }
  }
  if (config.services_size() > CRAB_MAX_SERVICES) {
    errors.push_back({"services", fmt::format("more than {} services", CRAB_MAX_SERVICES)});
  }
  return errors;
}

// Two hexadecimal digits a byte, as validate_service has made sure.
void parse_key(const std::string& text, std::uint8_t* key) {
  for (std::size_t i = 0; i < CRAB_KEY_LEN; ++i) {
    const char* digits = text.data() + 2 * i;
    std::from_chars(digits, digits + 2, key[i], 16);
  }
}

crab_service terms_of(const v1::Service& service, Family family) {
  crab_service terms{};
  const bool is_paper = service.option_form() == v1::OPTION_FORM_PAPER;
  terms.form = static_cast<__u8>(
      length_of(is_paper ? RedirectForm::Paper : form_for(family, service.keys_size() > 0)));
  terms.n_keys = static_cast<__u8>(service.keys_size());
  for (int i = 0; i < service.keys_size(); ++i) parse_key(service.keys(i), terms.keys[i]);
  return terms;
}

EndpointChoice choice_of(v1::EndpointKind kind) {
  switch (kind) {
    case v1::ENDPOINT_KIND_EBPF:
      return EndpointChoice::Ebpf;
    case v1::ENDPOINT_KIND_NETFILTER:
      return EndpointChoice::Netfilter;
    case v1::ENDPOINT_KIND_KERNEL:
      return EndpointChoice::Kernel;
    default:
      return EndpointChoice::Auto;
  }
}

EndpointConfig from_checked(const v1::Config& config) {
  EndpointConfig result;
  result.choice = choice_of(config.agent().endpoint());
  for (const v1::Service& service : config.services()) {
    const IpAddress address = IpAddress::parse(service.address()).value();
    crab_service_key key{};
    key.vip = to_mapped(address);
    key.port = htons(static_cast<std::uint16_t>(service.port()));
    result.services.emplace_back(key, terms_of(service, address.family));
    for (const v1::Backend& backend : service.backends()) {
      result.backends.push_back({IpAddress::parse(backend.address()).value(),
                                 static_cast<std::uint16_t>(backend.port())});
    }
  }
  for (const std::string& text : config.agent().allowed_prefixes()) {
    result.prefixes.push_back(to_mapped(Prefix::parse(text).value()));
  }
  return result;
}

}  // namespace

EndpointConfig endpoint_config_of(const v1::AttachResponse& response) {
  v1::Config config;
  *config.mutable_services() = response.services();
  *config.mutable_agent()->mutable_allowed_prefixes() = response.allowed_prefixes();
  std::vector<std::string> lines;
  for (const FieldError& error : check(config)) {
    lines.push_back(fmt::format("{}: {}", error.field, error.why));
  }
  if (!lines.empty()) throw AgentError(fmt::format("{}", fmt::join(lines, "; ")));
  return from_checked(config);
}

EndpointConfig merged(const std::vector<EndpointConfig>& configs) {
  using Key = std::pair<std::array<__be32, 4>, __be16>;
  EndpointConfig result;
  std::set<Key> seen;
  for (const EndpointConfig& config : configs) {
    for (const auto& [key, terms] : config.services) {
      const auto& w = key.vip.w;
      const bool is_new = seen.insert({{w[0], w[1], w[2], w[3]}, key.port}).second;
      if (is_new) result.services.emplace_back(key, terms);
    }
    result.prefixes.insert(result.prefixes.end(), config.prefixes.begin(), config.prefixes.end());
    result.backends.insert(result.backends.end(), config.backends.begin(), config.backends.end());
  }
  return result;
}

EndpointConfig load_endpoint_config(const std::string& path) {
  ConfigFile file = ConfigFile::load(path);
  if (file.readable()) file.add_errors(check(file.config()));
  if (!file.ok()) throw AgentError(fmt::format("{}", fmt::join(file.errors(), "\n")));
  return from_checked(file.config());
}

}  // namespace crab
