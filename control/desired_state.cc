// SPDX-License-Identifier: Apache-2.0
#include "control/desired_state.h"

#include <fmt/format.h>
#include <google/protobuf/field_mask.pb.h>
#include <google/protobuf/util/field_mask_util.h>

#include <algorithm>
#include <set>

#include "control/convert.h"

namespace crab {
namespace {

constexpr const char* kAddressInUse = "ADDRESS_IN_USE";

// The fields in which a service that is asked for differs from the one there is.
FieldErrors differences(const ServiceDefinition& is, const ServiceDefinition& asked) {
  FieldErrors errors;
  const auto compare = [&](bool equal, const char* field) {
    if (!equal) errors.push_back({std::string("service.") + field, "the existing service differs"});
  };
  compare(is.address == asked.address, "address");
  compare(is.port == asked.port, "port");
  compare(is.policy == asked.policy && is.parameters == asked.parameters, "policy");
  compare(is.paper == asked.paper, "option_form");
  compare(is.keys == asked.keys, "keys");
  compare(is.announce == asked.announce, "announce");
  compare(is.ramp == asked.ramp, "slow_start");
  compare(is.orca == asked.orca, "load_signal");
  compare(is.min_healthy_percent == asked.min_healthy_percent, "min_healthy_percent");
  compare(is.when_below == asked.when_below, "when_below");
  compare(is.max_expiry_percent == asked.max_expiry_percent, "max_expiry_percent");
  compare(is.owner == asked.owner, "owner");
  return errors;
}

bool same_backends(const ServiceRecord& record, const DesiredState::Backends& asked) {
  const auto n_staying = std::count_if(
      record.backends.begin(), record.backends.end(),
      [](const auto& backend) { return !backend.second.administration.is_leaving(); });
  return asked.size() == n_staying &&
         std::all_of(asked.begin(), asked.end(), [&](const v1::Backend& backend) {
           const auto found = record.backends.find(backend.id());
           return found != record.backends.end() &&
                  to_definition(backend, found->second.definition.owner) ==
                      found->second.definition;
         });
}

}  // namespace

Failure address_in_use(FieldErrors errors) {
  return {FailureCode::InvalidArgument,
          kAddressInUse,
          "an address is in use otherwise",
          std::move(errors),
          {}};
}

std::string to_etag(std::uint64_t version) { return fmt::format("{:x}", version); }

std::optional<Failure> check_etag(const std::string& etag, std::uint64_t version,
                                  const std::string& field, const std::string& of) {
  if (etag.empty() || etag == to_etag(version)) return std::nullopt;
  return Failure{FailureCode::Aborted,
                 "ETAG_MISMATCH",
                 of + " has been changed since: read it again",
                 {{field, "is '" + to_etag(version) + "' now"}},
                 {{"etag", to_etag(version)}}};
}

DesiredState::DesiredState(const Dataplane& dataplane, LoadTable& loads, Clocks clocks)
    : dataplane_(dataplane),
      loads_(loads),
      clocks_(std::move(clocks)),
      service_ids_(StableIndexPool<Endpoint>::make(kMaxServices, clocks_.steady)),
      load_slots_(StableIndexPool<LoadKey>::make(kMaxLoadSlots, clocks_.steady)) {}

DesiredState::Result DesiredState::create_service(const v1::Service& service, Owner owner,
                                                  ChangeEffect* effect) {
  if (auto errors = validate_service(service, "service"); !errors.empty()) {
    return invalid_fields(std::move(errors));
  }
  const ServiceDefinition definition = to_definition(service, owner);
  if (const auto found = services_.find(definition.name); found != services_.end()) {
    auto errors = differences(found->second->definition, definition);
    if (errors.empty() && service.backends_size() > 0 &&
        !same_backends(*found->second, service.backends())) {
      errors.push_back({"service.backends", "the existing service differs"});
    }
    if (errors.empty()) return std::nullopt;
    return Failure{FailureCode::AlreadyExists,
                   "SERVICE_EXISTS",
                   "service '" + definition.name + "' exists with other fields",
                   std::move(errors),
                   {{"service", definition.name}}};
  }
  if (auto failure = check_new_service(service)) return failure;
  if (auto failure = check_leases(service.backends(), "service.backends")) return failure;
  if (effect->validate_only) return std::nullopt;

  std::shared_ptr<ServiceRecord> record;
  if (auto failure = make_record(service, owner, &record)) return failure;
  if (auto failure = put_backends(record.get(), service.backends(), owner)) return failure;
  remember(definition.name);
  index_endpoint(*record);
  services_[definition.name] = std::move(record);
  effect->changed = true;
  return std::nullopt;
}

// Without backends; nobody else has it yet.
DesiredState::Result DesiredState::make_record(const v1::Service& service, Owner owner,
                                               std::shared_ptr<ServiceRecord>* made) {
  auto record = std::make_shared<ServiceRecord>();
  record->definition = to_definition(service, owner);
  const ServiceDefinition& definition = record->definition;
  if (auto failure = make_policy(definition, "service.policy", &record->policy)) return failure;
  const auto id = service_ids_->acquire({definition.address, definition.port});
  if (!id.handle) {
    return Failure{FailureCode::ResourceExhausted,
                   "SERVICE_LIMIT",
                   "no service id is free; those of deleted services are after 60 s",
                   {},
                   {},
                   kIndexQuarantine};
  }
  record->id = id.handle;
  auto& bases = service_bases_[*id.handle];
  if (id.fresh) bases = {count_assigned(dataplane_, *record), count_refused(dataplane_, *record)};
  std::tie(record->assigned_base, record->refused_base) = bases;
  record->version = ++last_version_;
  touch(record.get());
  *made = std::move(record);
  return std::nullopt;
}

// The collisions that validate_service cannot see.
DesiredState::Result DesiredState::check_new_service(const v1::Service& service) const {
  const IpAddress address = *IpAddress::parse(service.address());
  const auto port = static_cast<std::uint16_t>(service.port());
  if (const auto why = why_no_service_endpoint(address, port, *this); !why.empty()) {
    return Failure{FailureCode::AlreadyExists, kAddressInUse, why, {{"service.address", why}}, {}};
  }
  FieldErrors errors;
  if (const auto why = why_no_service_address(address, *this); !why.empty()) {
    errors.push_back({"service.address", why});
  }
  for (int i = 0; i < service.backends_size(); ++i) {
    const IpAddress backend = *IpAddress::parse(service.backends(i).address());
    auto why = why_no_backend_address(backend, *this);
    if (backend == address) why = backend.to_string() + " is the service's own virtual address";
    if (!why.empty()) {
      errors.push_back({indexed("service.backends", i) + ".address", why});
    }
  }
  if (errors.empty()) return std::nullopt;
  return address_in_use(std::move(errors));
}

DesiredState::Result DesiredState::delete_service(const std::string& name, Owner owner,
                                                  ChangeEffect* effect, const std::string& etag) {
  if (auto errors = validate_service_name(name, "name"); !errors.empty()) {
    return invalid_fields(std::move(errors));
  }
  const auto found = services_.find(name);
  if (found == services_.end()) return service_not_found(name);
  if (found->second->definition.owner != owner) {
    return Failure{FailureCode::FailedPrecondition,
                   "OWNED_BY_CONFIG",
                   "service '" + name + "' belongs to the configuration file; remove it there",
                   {{"name", "belongs to the configuration file"}},
                   {{"service", name}}};
  }
  if (auto failure = check_etag(etag, found->second->version, "etag", "the service")) {
    return failure;
  }
  if (effect->validate_only) return std::nullopt;
  remember(name);
  const auto& definition = found->second->definition;
  name_at_.erase({definition.address, definition.port});
  services_.erase(found);
  effect->changed = true;
  return std::nullopt;
}

DesiredState::Result DesiredState::set_policy(const std::string& service, const v1::Policy& policy,
                                              ChangeEffect* effect) {
  FieldErrors errors = validate_service_name(service, "service");
  const FieldErrors in_policy = validate_policy(policy, "policy");
  errors.insert(errors.end(), in_policy.begin(), in_policy.end());
  if (!errors.empty()) return invalid_fields(std::move(errors));
  const auto found = services_.find(service);
  if (found == services_.end()) return service_not_found(service);
  const auto [name, parameters] = to_definition(policy);
  const ServiceDefinition& is = found->second->definition;
  if (is.policy == name && is.parameters == parameters) return std::nullopt;

  ServiceDefinition next = is;
  next.policy = name;
  next.parameters = parameters;
  std::shared_ptr<PolicyInstance> instance;
  if (auto failure = make_policy(next, "policy", &instance)) return failure;
  if (effect->validate_only) return std::nullopt;
  ServiceRecord& record = edit(service);
  record.definition = std::move(next);
  record.policy = std::move(instance);
  record.version = ++last_version_;
  effect->changed = true;
  return std::nullopt;
}

DesiredState::Result DesiredState::update_service(const v1::Service& service,
                                                  const google::protobuf::FieldMask& mask,
                                                  ChangeEffect* effect) {
  FieldErrors errors = validate_service_name(service.name(), "service.name");
  static const std::set<std::string> kUpdatable = {"policy",
                                                   "keys",
                                                   "announce",
                                                   "slow_start",
                                                   "min_healthy_percent",
                                                   "when_below",
                                                   "max_expiry_percent"};
  if (mask.paths().empty()) errors.push_back({"update_mask", "is empty"});
  for (const auto& path : mask.paths()) {
    if (!kUpdatable.contains(path)) {
      errors.push_back({"update_mask", "'" + path +
                                           "' cannot be changed: delete the service and "
                                           "create another, or see the fields of UpdateService"});
    }
  }
  if (!errors.empty()) return invalid_fields(std::move(errors));
  const auto found = services_.find(service.name());
  if (found == services_.end()) return service_not_found(service.name());
  const ServiceDefinition& is = found->second->definition;
  if (auto failure =
          check_etag(service.etag(), found->second->version, "service.etag", "the service")) {
    return failure;
  }

  // Checked as a whole, because fields depend on each other.
  v1::Service next = to_stored_message(is);
  google::protobuf::util::FieldMaskUtil::MergeOptions options;
  options.set_replace_message_fields(true);
  options.set_replace_repeated_fields(true);
  google::protobuf::util::FieldMaskUtil::MergeMessageTo(service, mask, options, &next);
  for (const auto& path : mask.paths()) {
    // An absent value is the default, which merging leaves alone.
    if (path == "max_expiry_percent" && !service.has_max_expiry_percent()) {
      next.clear_max_expiry_percent();
    }
  }
  if (errors = validate_service(next, "service"); !errors.empty()) {
    return invalid_fields(std::move(errors));
  }
  ServiceDefinition definition = to_definition(next, is.owner);
  if (definition == is) return std::nullopt;
  const bool new_policy = definition.policy != is.policy || definition.parameters != is.parameters;
  std::shared_ptr<PolicyInstance> policy = found->second->policy;
  if (new_policy) {
    if (auto failure = make_policy(definition, "service.policy", &policy)) return failure;
  }
  if (effect->validate_only) return std::nullopt;
  ServiceRecord& record = edit(service.name());
  record.definition = std::move(definition);
  record.policy = std::move(policy);
  record.version = ++last_version_;
  effect->changed = true;
  return std::nullopt;
}

// What validation has tried once may still fail: a plugin is somebody else's.
DesiredState::Result DesiredState::make_policy(const ServiceDefinition& definition,
                                               const std::string& field,
                                               std::shared_ptr<PolicyInstance>* instance) const {
  try {
    *instance = PolicyInstance::create(*find_policy(definition.policy), definition.parameters,
                                       loads_.host());
    return std::nullopt;
  } catch (const PolicyError& e) {
    return invalid_fields({{field + ".parameters", e.what()}});
  }
}

void DesiredState::mark(std::uint64_t next_revision) {
  originals_.clear();
  lease_originals_.clear();
  next_revision_ = next_revision;
}

void DesiredState::rollback() {
  for (auto& [id, original] : lease_originals_) {
    if (original) {
      leases_[id] = std::move(*original);
    } else {
      leases_.erase(id);
    }
  }
  lease_originals_.clear();
  for (auto& [name, original] : originals_) {
    if (const auto now = services_.find(name); now != services_.end()) {
      const auto& definition = now->second->definition;
      // Another service may have the endpoint by now, or may be about to get it back.
      const auto at = name_at_.find({definition.address, definition.port});
      if (at != name_at_.end() && at->second == name) name_at_.erase(at);
      services_.erase(now);
    }
  }
  for (auto& [name, original] : originals_) {
    if (original == nullptr) continue;
    index_endpoint(*original);
    services_[name] = std::move(original);
  }
  originals_.clear();
}

ServiceRecord& DesiredState::edit(const std::string& name) {
  auto& record = services_.at(name);
  if (!originals_.contains(name)) {
    auto copy = std::make_shared<ServiceRecord>(*record);
    remember(name);
    record = std::move(copy);
  }
  return *record;
}

LeaseRecord& DesiredState::edit_lease(const std::string& id) {
  remember_lease(id);
  return leases_[id];
}

void DesiredState::remember_lease(const std::string& id) {
  const auto found = leases_.find(id);
  lease_originals_.try_emplace(
      id, found == leases_.end() ? std::nullopt : std::optional(found->second));
}

void DesiredState::touch(ServiceRecord* record, BackendRecord* backend) {
  backend->version = ++last_version_;
  touch(record);
}

void DesiredState::touch(ServiceRecord* record) { record->backends_revision = next_revision_; }

void DesiredState::remember(const std::string& name) {
  const auto found = services_.find(name);
  originals_.try_emplace(name, found == services_.end() ? nullptr : found->second);
}

void DesiredState::index_endpoint(const ServiceRecord& record) {
  name_at_[{record.definition.address, record.definition.port}] = record.definition.name;
}

bool DesiredState::is_own(const IpAddress& address) const {
  return dataplane_.is_own_address(address);
}

std::string DesiredState::service_at(const IpAddress& address) const {
  const auto found = name_at_.lower_bound({address, 0});
  return found != name_at_.end() && found->first.first == address ? found->second : "";
}

std::string DesiredState::service_at(const IpAddress& address, std::uint16_t port) const {
  const auto found = name_at_.find({address, port});
  return found != name_at_.end() ? found->second : "";
}

std::string DesiredState::backend_at(const IpAddress& address) const {
  for (const auto& [name, record] : services_) {
    const auto found = record->id_at.lower_bound({address, 0});
    if (found != record->id_at.end() && found->first.first == address) {
      return name + "/" + found->second;
    }
  }
  return "";
}

}  // namespace crab
