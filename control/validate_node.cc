// SPDX-License-Identifier: Apache-2.0
// The part of a configuration that describes the node: ports, sockets, limits; and the defaults.
#include <algorithm>
#include <map>
#include <set>

#include "control/prefix.h"
#include "control/socket_address.h"
#include "control/validate.h"
#include "kernel_patch/uapi/crab_report.h"

namespace crab {
namespace {

constexpr std::size_t kMaxInterfaceName = 15;  // IFNAMSIZ without its NUL
constexpr std::size_t kMaxDeviceText = 255;
constexpr std::uint32_t kMinMemoryMib = 64;
constexpr std::uint32_t kMaxMemoryMib = 1U << 20;
constexpr std::uint32_t kMaxRecentSynEntries = 1U << 28;
constexpr std::uint32_t kMaxAnswersPerSecond = 100'000'000;
constexpr std::uint32_t kMinMtu = 68;        // RFC 791
constexpr std::uint32_t kMinMtuIpv6 = 1280;  // RFC 8200, 5
constexpr std::uint32_t kMaxMtu = 9216;

constexpr const char* kDefaultSocket = "unix:/run/crab/control.sock";
constexpr std::uint32_t kDefaultTlsRefreshSeconds = 10;
constexpr std::uint32_t kDefaultMtu = 1500;
constexpr std::uint32_t kDefaultMemoryMib = 256;
constexpr std::uint32_t kDefaultRecentSynEntries = 1U << 20;
constexpr std::uint32_t kDefaultAnswersPerSecond = 10'000;

constexpr std::uint32_t kDefaultHeartbeatMs = 10;
constexpr std::uint32_t kMaxHeartbeatMs = 60'000;
constexpr std::uint32_t kDefaultCoalescingUs = 1'000;
constexpr std::uint32_t kMaxCoalescingUs = 1'000'000;
constexpr std::uint32_t kDefaultMinSilenceMs = 200;
constexpr std::uint32_t kMaxMinSilenceMs = 3'600'000;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool is_alphanumeric(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// [DDDD:]BB:DD.F in lower case with its domain, or empty.
std::string normal_pci(const std::string& text) {
  std::string pci = text.size() == 7 ? "0000:" + text : text;
  constexpr std::string_view kShape = "hhhh:hh:hh.h";
  if (pci.size() != kShape.size()) return "";
  for (std::size_t i = 0; i < pci.size(); ++i) {
    if (kShape[i] == 'h' ? !is_hex(pci[i]) : pci[i] != kShape[i]) return "";
    if (pci[i] >= 'A' && pci[i] <= 'F') pci[i] = static_cast<char>(pci[i] - 'A' + 'a');
  }
  return pci.back() <= '7' ? pci : "";
}

// The device's name: what stands before the arguments. Empty unless it looks like a DPDK one.
std::string vdev_name(const std::string& text) {
  const std::string name = text.substr(0, text.find(','));
  const bool shaped =
      text.size() <= kMaxDeviceText && name.starts_with("net_") && name.size() > 4 &&
      std::all_of(name.begin(), name.end(),
                  [](char c) { return is_alphanumeric(c) || c == '_'; }) &&
      std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
  return shaped ? name : "";
}

bool is_interface_name(const std::string& name) {
  return !name.empty() && name.size() <= kMaxInterfaceName && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return is_alphanumeric(c) || c == '_' || c == '-' || c == '.'; });
}

std::string default_host_interface(int port) { return "crab" + std::to_string(port); }

std::string default_report_listener(const v1::Config& config) {
  const auto& ports = config.dataplane().ports();
  if (ports.empty() || ports[0].addresses_size() == 0) return kNoReports;
  const auto prefix = Prefix::parse(ports[0].addresses(0));
  return prefix ? SocketAddress{prefix->address, CRAB_REPORT_PORT}.to_string() : kNoReports;
}

// The checks of ports, which must not collide with each other.
class PortChecker {
 public:
  explicit PortChecker(FieldErrors* errors) : errors_(errors) {}
  void check(const v1::Port& port, int index);

 private:
  void check_device(const v1::Port& port, const std::string& path);
  std::vector<Prefix> check_addresses(const v1::Port& port, const std::string& path);
  void check_gateways(const v1::Port& port, const std::vector<Prefix>& prefixes,
                      const std::string& path);
  void fail(const std::string& field, const std::string& why) { errors_->push_back({field, why}); }
  // Reports the second use of what only one port can have.
  void claim(const char* kind, const std::string& what, const std::string& field) {
    const auto [first, fresh] = claimed_.try_emplace({kind, what}, field);
    if (!fresh) fail(field, "'" + what + "' is " + first->second + " too");
  }

  FieldErrors* errors_;
  std::map<std::pair<std::string, std::string>, std::string> claimed_;
};

void PortChecker::check(const v1::Port& port, int index) {
  const std::string path = indexed("dataplane.ports", index);
  check_device(port, path);
  const std::string host =
      port.host_interface().empty() ? default_host_interface(index) : port.host_interface();
  if (is_interface_name(host)) {
    claim("interface", host, path + ".host_interface");
  } else {
    fail(path + ".host_interface",
         "must be 1 to 15 characters out of A-Z a-z 0-9 . _ -, a network interface's name");
  }
  const auto prefixes = check_addresses(port, path);
  check_gateways(port, prefixes, path);
  if (port.mtu() != 0 && (port.mtu() < kMinMtu || port.mtu() > kMaxMtu)) {
    fail(path + ".mtu", "must be 68 to 9216");
  } else if (port.mtu() != 0 && port.mtu() < kMinMtuIpv6 &&
             std::any_of(prefixes.begin(), prefixes.end(),
                         [](const Prefix& p) { return !p.address.is_v4(); })) {
    fail(path + ".mtu", "must be at least 1280 for the port's IPv6 address");
  }
}

void PortChecker::check_device(const v1::Port& port, const std::string& path) {
  if (port.device_case() == v1::Port::kVdev) {
    const std::string name = vdev_name(port.vdev());
    if (!name.empty()) return claim("vdev", name, path + ".vdev");
    fail(path + ".vdev",
         "'" + port.vdev() + "' is no DPDK network device such as net_af_packet0,iface=eth1");
  } else if (port.device_case() == v1::Port::kPci) {
    const std::string pci = normal_pci(port.pci());
    if (!pci.empty()) return claim("pci", pci, path + ".pci");
    fail(path + ".pci", "'" + port.pci() + "' is no PCI address such as 0000:3b:00.0");
  } else {
    fail(path, "needs `vdev` or `pci`");
  }
}

std::vector<Prefix> PortChecker::check_addresses(const v1::Port& port, const std::string& path) {
  std::vector<Prefix> prefixes;
  if (port.addresses_size() > kMaxAddressesPerPort) {
    fail(path + ".addresses", "more than 64 addresses");
  }
  for (int i = 0; i < port.addresses_size(); ++i) {
    const std::string& text = port.addresses(i);
    const std::string field = indexed(path + ".addresses", i);
    const auto prefix = Prefix::parse(text);
    if (!prefix) {
      fail(field, "'" + text + "' is not ADDRESS/PREFIX_LENGTH");
      continue;
    }
    const IpAddress& address = prefix->address;
    const unsigned host_bits = static_cast<unsigned>(address.size()) * 8 - prefix->length;
    if (address.is_unusable()) {
      fail(field, text + " is an unspecified, loopback, multicast or broadcast address");
    } else if (prefix->length == 0) {
      fail(field, "a prefix length of 0 would make every address a neighbour");
    } else if (address.is_v4() && host_bits > 1 &&
               (address == prefix->first() || address == prefix->last())) {
      fail(field, text + " is its network's own or broadcast address");
    } else {
      claim("address", address.to_string(), field);
      prefixes.push_back(*prefix);
    }
  }
  return prefixes;
}

void PortChecker::check_gateways(const v1::Port& port, const std::vector<Prefix>& prefixes,
                                 const std::string& path) {
  std::set<Family> seen;
  for (int i = 0; i < port.gateways_size(); ++i) {
    const std::string field = indexed(path + ".gateways", i);
    const auto gateway = IpAddress::parse(port.gateways(i));
    if (!gateway || gateway->is_unusable()) {
      fail(field, "'" + port.gateways(i) + "' is not an address that a router can have");
      continue;
    }
    if (!seen.insert(gateway->family).second) {
      fail(field, "a second default gateway of its family");
    }
    const bool on_link = is_link_local(*gateway) ||
                         std::any_of(prefixes.begin(), prefixes.end(),
                                     [&](const Prefix& p) { return p.contains(*gateway); });
    if (!on_link) fail(field, port.gateways(i) + " is in none of the port's prefixes");
    if (std::any_of(prefixes.begin(), prefixes.end(),
                    [&](const Prefix& p) { return p.address == *gateway; })) {
      fail(field, port.gateways(i) + " is the port's own address");
    }
  }
}

}  // namespace

FieldErrors validate_dataplane(const v1::Dataplane& dataplane) {
  FieldErrors errors;
  const auto fail = [&](const std::string& field, const std::string& why) {
    errors.push_back({"dataplane." + field, why});
  };
  if (dataplane.workers_size() == 0) fail("workers", "at least one CPU number is needed");
  if (dataplane.workers_size() > kMaxWorkers) fail("workers", "more than 127 workers");
  std::set<std::uint32_t> cpus;
  for (int i = 0; i < dataplane.workers_size(); ++i) {
    if (!cpus.insert(dataplane.workers(i)).second) {
      fail(indexed("workers", i),
           "CPU " + std::to_string(dataplane.workers(i)) + " has a worker already");
    }
  }
  if (dataplane.ports_size() == 0) fail("ports", "at least one port is needed");
  if (dataplane.ports_size() > kMaxConfiguredPorts) fail("ports", "more than 16 ports");
  PortChecker checker(&errors);
  for (int i = 0; i < dataplane.ports_size(); ++i) checker.check(dataplane.ports(i), i);
  const std::uint32_t memory = dataplane.memory_mib();
  if (memory != 0 && (memory < kMinMemoryMib || memory > kMaxMemoryMib)) {
    fail("memory_mib", "must be 64 to 1048576");
  }
  if (dataplane.recent_syn_entries() > kMaxRecentSynEntries) {
    fail("recent_syn_entries", "must be at most 268435456");
  }
  if (dataplane.answers_per_second() > kMaxAnswersPerSecond) {
    fail("answers_per_second", "must be at most 100000000");
  }
  return errors;
}

FieldErrors validate_metrics(const v1::Metrics& metrics) {
  const std::string& text = metrics.listen();
  if (text.empty() || SocketAddress::parse(text)) return {};
  return {{"metrics.listen",
           "'" + text + "' is not ADDRESS:PORT, such as 127.0.0.1:9110 or [::1]:9110"}};
}

FieldErrors validate_load_reports(const v1::LoadReports& reports) {
  FieldErrors errors;
  const auto fail = [&](const std::string& field, const std::string& why) {
    errors.push_back({"load_reports." + field, why});
  };
  if (reports.listen_size() > kMaxReportListeners) fail("listen", "more than 16 addresses");
  std::set<std::string> seen;
  for (int i = 0; i < reports.listen_size(); ++i) {
    const std::string& text = reports.listen(i);
    const std::string field = indexed("listen", i);
    const auto address = SocketAddress::parse(text);
    if (text == kNoReports) {
      if (reports.listen_size() > 1) fail(field, "'none' stands alone");
    } else if (!address) {
      fail(field, "'" + text + "' is not ADDRESS:PORT, such as 10.0.0.2:7471 or [fd00::2]:7471");
    } else if (address->address.is_unusable() && !is_loopback(address->address)) {
      fail(field, text + " is no address that agents can send to");
    } else if (!seen.insert(address->to_string()).second) {
      fail(field, "the same address again");
    }
  }
  if (reports.heartbeat_ms() > kMaxHeartbeatMs) fail("heartbeat_ms", "must be 1 to 60000");
  if (reports.coalescing_us() > kMaxCoalescingUs) {
    fail("coalescing_us", "must be at most 1000000");
  }
  if (reports.min_silence_ms() > kMaxMinSilenceMs) fail("min_silence_ms", "must be 1 to 3600000");
  return errors;
}

FieldErrors validate_agent(const v1::Agent& agent) {
  FieldErrors errors;
  if (agent.allowed_prefixes_size() > kMaxAllowedPrefixes) {
    errors.push_back({"agent.allowed_prefixes", "more than 1024 prefixes"});
  }
  for (int i = 0; i < agent.allowed_prefixes_size(); ++i) {
    const std::string& text = agent.allowed_prefixes(i);
    const auto prefix = Prefix::parse(text);
    const std::string field = indexed("agent.allowed_prefixes", i);
    if (!prefix) {
      errors.push_back({field, "'" + text + "' is not ADDRESS/PREFIX_LENGTH"});
    } else if (prefix->address != prefix->first()) {
      errors.push_back({field, text + " has bits beyond its prefix; " +
                                   prefix->first().to_string() + "/" +
                                   std::to_string(prefix->length) + " has not"});
    }
  }
  return errors;
}

void fill_in_defaults(v1::Config* config) {
  auto* dataplane = config->mutable_dataplane();
  if (dataplane->memory_mib() == 0) dataplane->set_memory_mib(kDefaultMemoryMib);
  if (dataplane->recent_syn_entries() == 0) {
    dataplane->set_recent_syn_entries(kDefaultRecentSynEntries);
  }
  if (dataplane->answers_per_second() == 0) {
    dataplane->set_answers_per_second(kDefaultAnswersPerSecond);
  }
  if (dataplane->idle() == v1::IDLE_UNSPECIFIED) {
    dataplane->set_idle(dataplane->hugepages() ? v1::IDLE_POLL : v1::IDLE_SLEEP);
  }
  for (int i = 0; i < dataplane->ports_size(); ++i) {
    auto* port = dataplane->mutable_ports(i);
    if (port->host_interface().empty()) port->set_host_interface(default_host_interface(i));
    if (port->mtu() == 0) port->set_mtu(kDefaultMtu);
    if (port->checksum() == v1::CHECKSUM_UNSPECIFIED) {
      port->set_checksum(port->has_vdev() ? v1::CHECKSUM_COMPLETE : v1::CHECKSUM_TRUST);
    }
  }
  auto* reports = config->mutable_load_reports();
  if (reports->listen_size() == 0) reports->add_listen(default_report_listener(*config));
  if (reports->heartbeat_ms() == 0) reports->set_heartbeat_ms(kDefaultHeartbeatMs);
  if (!reports->has_coalescing_us()) reports->set_coalescing_us(kDefaultCoalescingUs);
  if (reports->min_silence_ms() == 0) reports->set_min_silence_ms(kDefaultMinSilenceMs);
  auto* control = config->mutable_control();
  if (control->listen_size() == 0) control->add_listen(kDefaultSocket);
  if (control->has_tls() && control->tls().refresh_seconds() == 0) {
    control->mutable_tls()->set_refresh_seconds(kDefaultTlsRefreshSeconds);
  }
}

}  // namespace crab
