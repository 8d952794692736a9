// SPDX-License-Identifier: Apache-2.0
#include "control/desired_state.h"

#include <algorithm>
#include <set>

#include "control/convert.h"

namespace crab {
namespace {

constexpr const char* kAddressInUse = "ADDRESS_IN_USE";

Failure in_use(FieldErrors errors) {
  return {FailureCode::InvalidArgument,
          kAddressInUse,
          "an address is in use otherwise",
          std::move(errors),
          {}};
}

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
  compare(is.owner == asked.owner, "owner");
  return errors;
}

bool same_backends(const ServiceRecord& record, const DesiredState::Backends& asked) {
  return static_cast<std::size_t>(asked.size()) == record.backends.size() &&
         std::all_of(asked.begin(), asked.end(), [&](const v1::Backend& backend) {
           const auto found = record.backends.find(backend.id());
           return found != record.backends.end() &&
                  to_definition(backend, found->second.definition.owner) ==
                      found->second.definition;
         });
}

}  // namespace

DesiredState::DesiredState(const Dataplane& dataplane, LoadTable& loads,
                           std::function<std::chrono::steady_clock::time_point()> now)
    : dataplane_(dataplane),
      loads_(loads),
      service_ids_(StableIndexPool<Endpoint>::make(kMaxServices, now)),
      load_slots_(StableIndexPool<LoadKey>::make(kMaxLoadSlots, now)) {}

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

  auto record = std::make_shared<ServiceRecord>();
  record->definition = definition;
  record->policy =
      PolicyInstance::create(*find_policy(definition.policy), definition.parameters, loads_.host());
  const auto id = service_ids_->acquire({definition.address, definition.port});
  if (!id.handle) {
    return Failure{FailureCode::ResourceExhausted,
                   "SERVICE_LIMIT",
                   "no service id is free; those of deleted services are after 60 s",
                   {},
                   {}};
  }
  record->id = id.handle;
  auto& bases = service_bases_[*id.handle];
  if (id.fresh) bases = {count_assigned(dataplane_, *record), count_refused(dataplane_, *record)};
  std::tie(record->assigned_base, record->refused_base) = bases;
  if (auto failure = put_backends(record.get(), service.backends(), owner)) return failure;

  remember(definition.name);
  index_endpoint(*record);
  services_[definition.name] = std::move(record);
  effect->changed = true;
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
  return in_use(std::move(errors));
}

DesiredState::Result DesiredState::delete_service(const std::string& name, Owner owner,
                                                  ChangeEffect* effect) {
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
  ServiceRecord& record = edit(service);
  record.definition = std::move(next);
  record.policy = std::move(instance);
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

DesiredState::Result DesiredState::register_backends(const std::string& service,
                                                     const Backends& backends, Owner owner,
                                                     ChangeEffect* effect) {
  if (auto errors = validate_service_name(service, "service"); !errors.empty()) {
    return invalid_fields(std::move(errors));
  }
  if (backends.empty()) return invalid_fields({{"backends", "is empty"}});
  if (backends.size() > kMaxBatch) {
    return invalid_fields({{"backends", "more than 1000 in one request"}});
  }
  const auto found = services_.find(service);
  if (found == services_.end()) return service_not_found(service);
  const ServiceRecord& record = *found->second;
  if (auto failure = check_backends(record, backends)) return failure;

  const bool changes = std::any_of(backends.begin(), backends.end(), [&](const auto& backend) {
    const auto same = record.backends.find(backend.id());
    return same == record.backends.end() ||
           same->second.definition != to_definition(backend, same->second.definition.owner);
  });
  if (!changes) return std::nullopt;
  if (auto failure = put_backends(&edit(service), backends, owner)) return failure;
  effect->changed = true;
  return std::nullopt;
}

DesiredState::Result DesiredState::check_backends(const ServiceRecord& service,
                                                  const Backends& backends) const {
  const ServiceShape shape{service.definition.address.family, service.definition.port,
                           service.definition.paper};
  if (auto errors = validate_backends(backends, shape, "backends"); !errors.empty()) {
    return invalid_fields(std::move(errors));
  }
  // The endpoints of other backends, once the batch is applied: two backends may trade places.
  std::set<std::string> in_batch;
  for (const auto& backend : backends) in_batch.insert(backend.id());
  FieldErrors collisions;
  std::size_t n_new = 0;
  for (int i = 0; i < backends.size(); ++i) {
    const auto inner = indexed("backends", i);
    const BackendDefinition definition = to_definition(backends[i], Owner::Api);
    if (auto why = why_no_backend_address(definition.address, *this); !why.empty()) {
      collisions.push_back({inner + ".address", std::move(why)});
    }
    const auto taken = service.id_at.find({definition.address, definition.port});
    if (taken != service.id_at.end() && taken->second != backends[i].id() &&
        !in_batch.contains(taken->second)) {
      collisions.push_back({inner + ".address", "with this port is backend '" + taken->second +
                                                    "' of the service already"});
    }
    n_new += !service.backends.contains(backends[i].id());
  }
  if (!collisions.empty()) return in_use(std::move(collisions));
  if (service.backends.size() + n_new > static_cast<std::size_t>(kMaxBackendsPerService)) {
    return Failure{FailureCode::ResourceExhausted,
                   "BACKEND_LIMIT",
                   "the service would have more than 10000 backends",
                   {},
                   {{"service", service.definition.name}}};
  }
  return std::nullopt;
}

DesiredState::Result DesiredState::put_backends(ServiceRecord* record, const Backends& backends,
                                                Owner owner) {
  std::vector<BackendRecord> put;
  for (const auto& message : backends) {
    BackendRecord backend{.definition = to_definition(message, owner), .load_slot = nullptr};
    const auto before = record->backends.find(message.id());
    if (before != record->backends.end()) {
      // What is equal but for its owner keeps the owner it has.
      const auto same = to_definition(message, before->second.definition.owner);
      if (same == before->second.definition) backend.definition = same;
    }
    auto slot = load_slots_->acquire(
        {{backend.definition.address, backend.definition.port}, record->definition.orca});
    if (!slot.handle) {
      return Failure{FailureCode::ResourceExhausted,
                     "LOAD_SLOT_LIMIT",
                     "no load slot is free; those of removed backends are after 60 s",
                     {},
                     {}};
    }
    backend.load_slot = std::move(slot.handle);
    auto& base = slot_bases_[*backend.load_slot];
    if (slot.fresh) {
      base = count_assigned(dataplane_, backend);
      loads_.reset(*backend.load_slot);
    }
    backend.assigned_base = base;
    put.push_back(std::move(backend));
  }
  for (const auto& message : backends) {
    const auto before = record->backends.find(message.id());
    if (before == record->backends.end()) continue;
    const auto& definition = before->second.definition;
    record->id_at.erase({definition.address, definition.port});
  }
  for (int i = 0; i < backends.size(); ++i) {
    const auto& definition = put[static_cast<std::size_t>(i)].definition;
    record->id_at[{definition.address, definition.port}] = backends[i].id();
    record->backends[backends[i].id()] = std::move(put[static_cast<std::size_t>(i)]);
  }
  return std::nullopt;
}

DesiredState::Result DesiredState::deregister_backends(const std::string& service,
                                                       const std::vector<std::string>& ids,
                                                       ChangeEffect* effect) {
  FieldErrors errors = validate_service_name(service, "service");
  if (ids.empty()) errors.push_back({"ids", "is empty"});
  if (ids.size() > static_cast<std::size_t>(kMaxBatch)) {
    return invalid_fields({{"ids", "more than 1000 in one request"}});
  }
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto bad = validate_backend_id(ids[i], indexed("ids", i));
    errors.insert(errors.end(), bad.begin(), bad.end());
  }
  if (!errors.empty()) return invalid_fields(std::move(errors));
  const auto found = services_.find(service);
  if (found == services_.end()) return service_not_found(service);

  std::set<std::string> removed;
  for (const auto& id : ids) {
    if (found->second->backends.contains(id) && removed.insert(id).second) {
      effect->removed_ids.push_back(id);
    }
  }
  if (removed.empty()) return std::nullopt;
  ServiceRecord& record = edit(service);
  for (const auto& id : removed) {
    const auto backend = record.backends.find(id);
    const auto& definition = backend->second.definition;
    record.id_at.erase({definition.address, definition.port});
    record.backends.erase(backend);
  }
  effect->changed = true;
  return std::nullopt;
}

void DesiredState::rollback() {
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
