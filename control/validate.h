// SPDX-License-Identifier: Apache-2.0
// What values may be, in one place for the configuration file and for the API. Pure functions on
// messages; each returns every error it finds, with the field's path.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "control/config_file.h"
#include "control/field_error.h"
#include "crab/v1/config.pb.h"
#include "crab/v1/resources.pb.h"
#include "lb/address.h"
#include "lb/packet.h"

namespace crab {

// Limits besides those of lb/counters.h (services, load slots); docs/configuration.md states them.
inline constexpr int kMaxBatch = 1'000;  // backends or ids in one request
inline constexpr int kMaxBackendsPerService = 10'000;
inline constexpr int kMaxKeys = 2;
inline constexpr int kMaxPolicyParameters = 64;
inline constexpr std::size_t kMaxPolicyText = 255;  // a parameter's name or value
inline constexpr int kMaxWorkers = 127;  // DPDK's 128 lcores, less the control threads' one
inline constexpr int kMaxConfiguredPorts = kMaxPorts;
inline constexpr int kMaxAddressesPerPort = 64;
inline constexpr int kMaxListeners = 16;
inline constexpr int kMaxAllowedPrefixes = 1'024;
inline constexpr std::uint32_t kMaxWeight = 65'535;
inline constexpr const char* kDefaultPolicy = "round_robin";
inline constexpr std::uint32_t kMaxRampSeconds = 3'600;
inline constexpr const char* kDefaultOrcaMetric = "application_utilization";
inline constexpr std::uint32_t kDefaultOrcaIntervalMs = 100;
inline constexpr std::uint32_t kMinOrcaIntervalMs = 10;
inline constexpr std::uint32_t kMaxOrcaIntervalMs = 60'000;
inline constexpr std::size_t kMaxOrcaMetric = 255;
inline constexpr int kMaxReportListeners = 16;
inline constexpr const char* kNoReports = "none";  // in load_reports.listen

// Reads, checks and fills in the defaults of what the file leaves out, so that nobody else has to
// know them: what crab-lb runs with, and all that --check-config does. Loads the policy plugins
// (policies/plugin_loader.h) that services may name. Before other threads start.
ConfigFile load_and_validate(const std::string& path);

// Everything about a configuration that can be told without the machine.
FieldErrors validate_config(const v1::Config& config);
void fill_in_defaults(v1::Config* config);

// The parts of validate_config that are not services.
FieldErrors validate_dataplane(const v1::Dataplane& dataplane);
FieldErrors validate_control(const v1::Control& control);
FieldErrors validate_metrics(const v1::Metrics& metrics);
FieldErrors validate_agent(const v1::Agent& agent);
FieldErrors validate_load_reports(const v1::LoadReports& reports);

// What a backend has to agree with.
struct ServiceShape {
  std::optional<Family> family;  // empty: the service's own address is wrong
  std::uint32_t port = 0;
  bool paper = false;
};
ServiceShape shape_of(const v1::Service& service);

// A service by itself, its backends included; `path` precedes the field names ("services[2]").
FieldErrors validate_service(const v1::Service& service, const std::string& path);
// Backends by themselves and among each other, the field being called path[i].
FieldErrors validate_backends(const google::protobuf::RepeatedPtrField<v1::Backend>& backends,
                              const ServiceShape& service, const std::string& path);
FieldErrors validate_policy(const v1::Policy& policy, const std::string& path);
FieldErrors validate_service_name(const std::string& name, const std::string& path);
FieldErrors validate_backend_id(const std::string& id, const std::string& path);
// The same, or the id that crab-lb itself has given a backend that drains (ID~1).
FieldErrors validate_backend_reference(const std::string& id, const std::string& path);

// The rest of the node, as far as an address can collide with it.
class Surroundings {
 public:
  virtual ~Surroundings() = default;
  virtual bool is_own(const IpAddress& address) const = 0;
  // The name of a service at that address (and port), for the message; empty if there is none.
  virtual std::string service_at(const IpAddress& address) const = 0;
  virtual std::string service_at(const IpAddress& address, std::uint16_t port) const = 0;
  // service/id of a backend at that address, or empty.
  virtual std::string backend_at(const IpAddress& address) const = 0;
};

// Why an address may not be a service's or a backend's here; empty if it may.
std::string why_no_service_address(const IpAddress& address, const Surroundings& surroundings);
std::string why_no_service_endpoint(const IpAddress& address, std::uint16_t port,
                                    const Surroundings& surroundings);
std::string why_no_backend_address(const IpAddress& address, const Surroundings& surroundings);

}  // namespace crab
