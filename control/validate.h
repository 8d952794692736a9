// SPDX-License-Identifier: Apache-2.0
// What values may be, in one place for the configuration file and for the API. Pure functions on
// messages; each returns every error it finds, with the field's path.
#pragma once

#include <cstdint>
#include <string>

#include "control/config_file.h"
#include "control/field_error.h"
#include "crab/v1/config.pb.h"
#include "crab/v1/resources.pb.h"
#include "lb/address.h"

namespace crab {

// Limits besides those of lb/counters.h (services, load slots); docs/configuration.md states them.
inline constexpr int kMaxBatch = 1'000;  // backends or ids in one request
inline constexpr int kMaxBackendsPerService = 10'000;
inline constexpr int kMaxKeys = 2;
inline constexpr int kMaxPolicyParameters = 64;
inline constexpr int kMaxWorkers = 128;
inline constexpr int kMaxPorts = 32;
inline constexpr int kMaxAddressesPerPort = 64;
inline constexpr int kMaxListeners = 16;
inline constexpr std::uint32_t kMaxWeight = 65'535;

// Reads, checks and fills in the defaults of what the file leaves out, so that nobody else has to
// know them: what crab-lb runs with, and all that --check-config does.
ConfigFile load_and_validate(const std::string& path);

// Everything about a configuration that can be told without the machine.
FieldErrors validate_config(const v1::Config& config);
void fill_in_defaults(v1::Config* config);

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

}  // namespace crab
