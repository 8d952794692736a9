// SPDX-License-Identifier: Apache-2.0
// Services and backends; the rest of a configuration is validate_node.cc's.
#include "control/validate.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "control/prefix.h"
#include "lb/counters.h"
#include "policies/plugin_loader.h"
#include "policies/registry.h"

namespace crab {
namespace {

constexpr std::size_t kMaxServiceName = 63;
constexpr std::size_t kMaxBackendId = 253;
constexpr std::size_t kKeyDigits = 32;

bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_id_character(char c) {
  return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' || c == ':' ||
         c == '-';
}
bool is_hex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}
bool is_printable(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

// Empty if the text is an address that a service or a backend may have anywhere.
std::string why_unusable(const std::string& text) {
  if (text.empty()) return "is missing";
  const auto address = IpAddress::parse(text);
  if (!address) return "'" + text + "' is not an IPv4 or IPv6 address";
  if (address->is_unusable()) {
    return text + " is an unspecified, loopback, multicast or broadcast address";
  }
  const auto& bytes = address->bytes;
  if (is_link_local(*address)) {
    return text + " is a link-local address, which names no host by itself";
  }
  const bool mapped =
      !address->is_v4() && bytes[10] == 0xff && bytes[11] == 0xff &&
      std::all_of(bytes.begin(), bytes.begin() + 10, [](auto byte) { return byte == 0; });
  if (mapped) return text + " is an IPv4-mapped address; write the IPv4 address";
  return "";
}

std::string why_bad_port(std::uint32_t port) {
  return port >= 1 && port <= 65'535 ? "" : "must be 1 to 65535";
}

void check(const std::string& why, const std::string& field, FieldErrors* errors) {
  if (!why.empty()) errors->push_back({field, why});
}

std::string why_no_policy(const std::string& name) {
  for (const RefusedPlugin& plugin : refused_plugins()) {
    if (plugin.name != name) continue;
    return "the plugin for '" + name + "' was refused: " + plugin.path + " " + plugin.reason;
  }
  std::string known;
  for (const KnownPolicy& policy : known_policies()) {
    known += (known.empty() ? "" : ", ") + std::string(policy.ops->name);
  }
  return "no policy is called '" + name + "'; known are " + known;
}

void check_keys(const v1::Service& service, const std::string& path, FieldErrors* errors) {
  if (service.keys_size() > kMaxKeys) check("more than two keys", path + ".keys", errors);
  std::set<std::string> seen;
  for (int i = 0; i < service.keys_size(); ++i) {
    const std::string& key = service.keys(i);
    const auto field = indexed(path + ".keys", i);
    // The key itself is a secret: no message quotes it.
    if (key.size() != kKeyDigits || !std::all_of(key.begin(), key.end(), is_hex)) {
      check("must be 32 hexadecimal digits", field, errors);
    } else if (!seen.insert(key).second) {
      check("is the same key again", field, errors);
    }
  }
}

// Wire values of an enum that this version does not know; a file cannot have them.
template <typename IsValid>
void check_enum(int value, IsValid is_valid, const std::string& field, FieldErrors* errors) {
  if (!is_valid(value)) check("unknown value " + std::to_string(value), field, errors);
}

void check_load(const v1::Service& service, const std::string& path, FieldErrors* errors) {
  if (service.slow_start().ramp_seconds() > kMaxRampSeconds) {
    check("must be at most 3600", path + ".slow_start.ramp_seconds", errors);
  }
  const auto& signal = service.load_signal();
  const auto field = [&](const char* name) { return path + ".load_signal." + name; };
  check_enum(signal.source(), v1::LoadSignal::Source_IsValid, field("source"), errors);
  const bool orca = signal.source() == v1::LoadSignal::SOURCE_ORCA;
  const char* const kOrcaOnly = "is for source orca alone";
  if (!orca && !signal.metric().empty()) check(kOrcaOnly, field("metric"), errors);
  if (!orca && signal.port() != 0) check(kOrcaOnly, field("port"), errors);
  if (!orca && signal.interval_ms() != 0) check(kOrcaOnly, field("interval_ms"), errors);
  if (!orca) return;
  if (signal.metric().size() > kMaxOrcaMetric || !is_printable(signal.metric())) {
    check("must be at most 255 printable ASCII characters", field("metric"), errors);
  }
  if (signal.port() != 0) check(why_bad_port(signal.port()), field("port"), errors);
  const std::uint32_t interval = signal.interval_ms();
  if (interval != 0 && (interval < kMinOrcaIntervalMs || interval > kMaxOrcaIntervalMs)) {
    check("must be 10 to 60000", field("interval_ms"), errors);
  }
}

class ConfigSurroundings : public Surroundings {
 public:
  void add_own(const IpAddress& address) { own_.insert(address); }
  void add_service(const std::string& name, const IpAddress& address, std::uint16_t port) {
    services_.try_emplace({address, port}, name);
  }

  bool is_own(const IpAddress& address) const override { return own_.contains(address); }
  std::string service_at(const IpAddress& address) const override {
    const auto found = services_.lower_bound({address, 0});
    return found != services_.end() && found->first.first == address ? found->second : "";
  }
  std::string service_at(const IpAddress& address, std::uint16_t port) const override {
    const auto found = services_.find({address, port});
    return found != services_.end() ? found->second : "";
  }
  // A file's collisions of that kind are reported at the backend.
  std::string backend_at(const IpAddress&) const override { return ""; }

 private:
  std::set<IpAddress> own_;
  std::map<std::pair<IpAddress, std::uint16_t>, std::string> services_;
};

void check_output_only(const v1::Service& service, const std::string& path, FieldErrors* errors) {
  constexpr const char* kWhy = "is filled in by crab-lb and stands in no file";
  if (service.owner() != v1::OWNER_UNSPECIFIED) check(kWhy, path + ".owner", errors);
  if (!service.etag().empty()) check(kWhy, path + ".etag", errors);
  for (int i = 0; i < service.backends_size(); ++i) {
    const auto field = indexed(path + ".backends", i);
    if (service.backends(i).has_status()) check(kWhy, field + ".status", errors);
    if (!service.backends(i).etag().empty()) check(kWhy, field + ".etag", errors);
    if (!service.backends(i).lease_id().empty()) {
      check("is for the API: nobody keeps a file's backends alive", field + ".lease_id", errors);
    }
    if (service.backends(i).owner() != v1::OWNER_UNSPECIFIED) {
      check(kWhy, field + ".owner", errors);
    }
  }
}

void append(const FieldErrors& more, FieldErrors* errors) {
  errors->insert(errors->end(), more.begin(), more.end());
}

// How services and backends collide with each other and with the node itself.
void check_collisions(const v1::Config& config, FieldErrors* errors) {
  ConfigSurroundings around;
  for (const auto& port : config.dataplane().ports()) {
    for (const auto& text : port.addresses()) {
      const auto address = IpAddress::parse(text.substr(0, text.find('/')));
      if (address) around.add_own(*address);
    }
  }
  std::set<std::string> names;
  for (int i = 0; i < config.services_size(); ++i) {
    const auto& service = config.services(i);
    const auto path = indexed("services", i);
    if (!service.name().empty() && !names.insert(service.name()).second) {
      check("a second service called '" + service.name() + "'", path + ".name", errors);
    }
    const auto address = IpAddress::parse(service.address());
    if (!address) continue;
    const auto port = static_cast<std::uint16_t>(service.port());
    check(why_no_service_address(*address, around), path + ".address", errors);
    check(why_no_service_endpoint(*address, port, around), path + ".address", errors);
    around.add_service(service.name(), *address, port);
  }
  for (int i = 0; i < config.services_size(); ++i) {
    const auto& backends = config.services(i).backends();
    for (int j = 0; j < backends.size(); ++j) {
      const auto address = IpAddress::parse(backends[j].address());
      if (!address) continue;
      check(why_no_backend_address(*address, around),
            indexed(indexed("services", i) + ".backends", j) + ".address", errors);
    }
  }
}

}  // namespace

std::string why_no_service_address(const IpAddress& address, const Surroundings& surroundings) {
  if (surroundings.is_own(address)) {
    return address.to_string() + " is an address of the node itself";
  }
  const std::string backend = surroundings.backend_at(address);
  if (!backend.empty()) return address.to_string() + " is the address of backend " + backend;
  return "";
}

std::string why_no_service_endpoint(const IpAddress& address, std::uint16_t port,
                                    const Surroundings& surroundings) {
  const std::string taken = surroundings.service_at(address, port);
  if (taken.empty()) return "";
  return address.to_string() + " port " + std::to_string(port) + " is service '" + taken +
         "' already";
}

std::string why_no_backend_address(const IpAddress& address, const Surroundings& surroundings) {
  if (surroundings.is_own(address)) {
    return address.to_string() + " is an address of the node itself";
  }
  const std::string service = surroundings.service_at(address);
  if (!service.empty()) {
    return address.to_string() + " is the virtual address of service '" + service + "'";
  }
  return "";
}

FieldErrors validate_policy(const v1::Policy& policy, const std::string& path) {
  const std::string name = policy.name().empty() ? kDefaultPolicy : policy.name();
  const crab_policy_ops* ops = find_policy(name);
  if (ops == nullptr) {
    return {{path + ".name", why_no_policy(name)}};
  }
  if (policy.parameters_size() > kMaxPolicyParameters) {
    return {{path + ".parameters", "more than 64 parameters"}};
  }
  PolicyInstance::Parameters parameters;
  for (const auto& [key, value] : policy.parameters()) {
    const bool fits = key.size() <= kMaxPolicyText && value.size() <= kMaxPolicyText;
    if (!fits || !is_printable(key) || !is_printable(value)) {
      return {
          {path + ".parameters", "names and values are at most 255 printable ASCII characters"}};
    }
    parameters.emplace_back(key, value);
  }
  std::sort(parameters.begin(), parameters.end());
  try {
    PolicyInstance::create(*ops, parameters);
  } catch (const PolicyError& e) {
    return {{path + ".parameters", e.what()}};
  }
  return {};
}

FieldErrors validate_service_name(const std::string& name, const std::string& path) {
  if (name.empty()) return {{path, "is missing"}};
  const bool shaped = name.size() <= kMaxServiceName && name.front() != '-' && name.back() != '-' &&
                      std::all_of(name.begin(), name.end(),
                                  [](char c) { return is_lower_or_digit(c) || c == '-'; });
  if (shaped) return {};
  return {{path, "must be 1 to 63 lower-case letters, digits and inner hyphens"}};
}

FieldErrors validate_backend_id(const std::string& id, const std::string& path) {
  if (id.empty()) return {{path, "is missing"}};
  if (id.size() <= kMaxBackendId && std::all_of(id.begin(), id.end(), is_id_character)) return {};
  return {{path, "must be 1 to 253 characters out of A-Z a-z 0-9 . _ : -"}};
}

FieldErrors validate_backend_reference(const std::string& id, const std::string& path) {
  const auto tilde = id.find('~');
  if (tilde == std::string::npos) return validate_backend_id(id, path);
  const bool numbered = tilde + 1 < id.size() && id.size() - tilde <= 6 &&
                        std::all_of(id.begin() + static_cast<std::ptrdiff_t>(tilde) + 1, id.end(),
                                    [](char c) { return c >= '0' && c <= '9'; });
  return numbered ? validate_backend_id(id.substr(0, tilde), path)
                  : FieldErrors{{path, "must be an id, or an id and ~NUMBER"}};
}

ServiceShape shape_of(const v1::Service& service) {
  const auto address = IpAddress::parse(service.address());
  return {address ? std::optional(address->family) : std::nullopt, service.port(),
          service.option_form() == v1::OPTION_FORM_PAPER};
}

FieldErrors validate_backends(const google::protobuf::RepeatedPtrField<v1::Backend>& backends,
                              const ServiceShape& service, const std::string& path) {
  FieldErrors errors;
  std::map<std::string, int> ids;
  std::map<std::pair<IpAddress, std::uint32_t>, int> endpoints;
  for (int i = 0; i < backends.size(); ++i) {
    const v1::Backend& backend = backends[i];
    const auto inner = indexed(path, i);
    append(validate_backend_id(backend.id(), inner + ".id"), &errors);
    const auto [same_id, new_id] = ids.try_emplace(backend.id(), i);
    if (!new_id && !backend.id().empty()) {
      check("is the id of " + indexed(path, same_id->second) + " too", inner + ".id", &errors);
    }
    check(why_bad_port(backend.port()), inner + ".port", &errors);
    if (service.paper && backend.port() != service.port) {
      check("must equal the service's port in the paper form", inner + ".port", &errors);
    }
    if (backend.has_weight() && (backend.weight() < 1 || backend.weight() > kMaxWeight)) {
      check("must be 1 to 65535", inner + ".weight", &errors);
    }
    const std::string unusable = why_unusable(backend.address());
    check(unusable, inner + ".address", &errors);
    if (!unusable.empty()) continue;
    const IpAddress address = *IpAddress::parse(backend.address());
    if (service.family && address.family != *service.family) {
      check("is not of the service's family, " +
                std::string(*service.family == Family::Ipv4 ? "IPv4" : "IPv6"),
            inner + ".address", &errors);
    }
    const auto [same, fresh] = endpoints.try_emplace({address, backend.port()}, i);
    if (!fresh) {
      check("with this port is " + indexed(path, same->second) + " too", inner + ".address",
            &errors);
    }
  }
  return errors;
}

FieldErrors validate_service(const v1::Service& service, const std::string& path) {
  FieldErrors errors = validate_service_name(service.name(), path + ".name");
  check(why_unusable(service.address()), path + ".address", &errors);
  check(why_bad_port(service.port()), path + ".port", &errors);
  append(validate_policy(service.policy(), path + ".policy"), &errors);
  check_load(service, path, &errors);
  if (service.min_healthy_percent() > 100) {
    check("must be at most 100", path + ".min_healthy_percent", &errors);
  }
  check_enum(service.when_below(), v1::WhenBelow_IsValid, path + ".when_below", &errors);
  if (service.max_expiry_percent() > 100) {
    check("must be at most 100", path + ".max_expiry_percent", &errors);
  }
  check_keys(service, path, &errors);
  check_enum(service.option_form(), v1::OptionForm_IsValid, path + ".option_form", &errors);
  check_enum(service.announce(), v1::Announce_IsValid, path + ".announce", &errors);
  const ServiceShape shape = shape_of(service);
  if (shape.paper && shape.family == Family::Ipv6) {
    check("paper is for IPv4 services alone", path + ".option_form", &errors);
  }
  if (shape.paper && service.keys_size() > 0) {
    check("the paper form carries no tag and so takes no keys", path + ".keys", &errors);
  }
  if (service.backends_size() > kMaxBackendsPerService) {
    check("more than 10000 backends", path + ".backends", &errors);
  }
  append(validate_backends(service.backends(), shape, path + ".backends"), &errors);
  return errors;
}

FieldErrors validate_config(const v1::Config& config) {
  FieldErrors errors;
  if (config.node() < 1 || config.node() > 255) {
    check("must be 1 to 255", "node", &errors);
  }
  append(validate_dataplane(config.dataplane()), &errors);
  append(validate_control(config.control()), &errors);
  append(validate_metrics(config.metrics()), &errors);
  append(validate_agent(config.agent()), &errors);
  append(validate_load_reports(config.load_reports()), &errors);
  if (!config.policy_directory().empty() && !config.policy_directory().starts_with('/')) {
    check("must be an absolute path", "policy_directory", &errors);
  }
  if (config.services_size() > static_cast<int>(kMaxServices)) {
    check("more than " + std::to_string(kMaxServices) + " services", "services", &errors);
  }
  for (int i = 0; i < config.services_size(); ++i) {
    append(validate_service(config.services(i), indexed("services", i)), &errors);
    check_output_only(config.services(i), indexed("services", i), &errors);
  }
  check_collisions(config, &errors);
  return errors;
}

ConfigFile load_and_validate(const std::string& path) {
  ConfigFile file = ConfigFile::load(path);
  const std::string& plugins = file.config().policy_directory();
  if (plugins.empty()) load_policy_plugins(kDefaultPolicyDirectory);
  if (plugins.starts_with('/')) load_policy_plugins(plugins);
  // A file that does not parse is checked all the same: all errors at once. Only one that is no
  // YAML at all would be reported as lacking everything.
  if (file.readable()) file.add_errors(validate_config(file.config()));
  if (file.ok()) fill_in_defaults(&file.config());
  return file;
}

}  // namespace crab
