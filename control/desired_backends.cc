// SPDX-License-Identifier: Apache-2.0
// Backends of the desired state: registering, replacing, updating.
#include <google/protobuf/field_mask.pb.h>

#include <algorithm>
#include <set>

#include "control/convert.h"
#include "control/desired_state.h"

namespace crab {
namespace {

// Whether registering it leaves the backend as it is: its owner apart, which stays then.
bool is_same(const BackendRecord& is, const v1::Backend& asked) {
  const Admin state = is.administration.state;
  return is.definition == to_definition(asked, is.definition.owner) && !is.lease_expired &&
         (state == Admin::InService || state == Admin::Maintenance);
}

// An id that no caller can give, for a backend whose id another address has now.
std::string free_id(const ServiceRecord& record, const std::string& id) {
  for (int i = 1;; ++i) {
    std::string candidate = id + "~" + std::to_string(i);
    if (!record.backends.contains(candidate)) return candidate;
  }
}

}  // namespace

std::optional<Failure> backend_not_found(const std::string& service, const std::string& id,
                                         const std::string& field) {
  return Failure{FailureCode::NotFound,
                 "BACKEND_NOT_FOUND",
                 "service '" + service + "' has no backend '" + id + "'",
                 {{field, "is not registered"}},
                 {{"service", service}, {"backend", id}}};
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
  if (auto failure = check_leases(backends, "backends")) return failure;

  for (const auto& backend : backends) {
    const auto same = record.backends.find(backend.id());
    if (same == record.backends.end() || !is_same(same->second, backend)) {
      effect->changed_ids.push_back(backend.id());
    }
  }
  if (effect->changed_ids.empty() || effect->validate_only) return std::nullopt;
  if (auto failure = put_backends(&edit(service), backends, owner)) return failure;
  effect->changed = true;
  return std::nullopt;
}

DesiredState::Result DesiredState::replace_backends(
    const std::string& service, const Backends& backends, Owner owner,
    std::optional<std::uint64_t> expected_revision,
    std::optional<std::chrono::milliseconds> drain_timeout, ChangeEffect* effect) {
  if (auto errors = validate_service_name(service, "service"); !errors.empty()) {
    return invalid_fields(std::move(errors));
  }
  if (backends.size() > kMaxBackendsPerService) {
    return invalid_fields({{"backends", "more than 10000"}});
  }
  const auto found = services_.find(service);
  if (found == services_.end()) return service_not_found(service);
  const std::uint64_t changed_in = found->second->backends_revision;
  if (expected_revision && changed_in > *expected_revision) {
    return Failure{FailureCode::Aborted,
                   "REVISION_MISMATCH",
                   "the service's backends have been changed since: read them again",
                   {{"expected_revision", "is older than " + std::to_string(changed_in)}},
                   {{"service", service}, {"revision", std::to_string(changed_in)}}};
  }
  // Those that are missing go first: their addresses may have new ids.
  std::set<std::string> wanted;
  for (const auto& backend : backends) wanted.insert(backend.id());
  auto next = std::make_shared<ServiceRecord>(*found->second);
  for (const auto& [id, backend] : found->second->backends) {
    if (wanted.contains(id) || backend.administration.is_leaving()) continue;
    effect->removed_ids.push_back(id);
    if (drain_timeout && drain_timeout->count() == 0) {
      erase_backend(next.get(), id);
    } else {
      start_drain(next.get(), &next->backends.at(id), true,
                  {.timeout = drain_timeout, .reason = "replaced", .etags = {}});
    }
  }
  if (auto failure = check_backends(*next, backends)) return failure;
  if (auto failure = check_leases(backends, "backends")) return failure;
  Backends put;
  for (const auto& backend : backends) {
    const auto same = next->backends.find(backend.id());
    if (same != next->backends.end() && is_same(same->second, backend)) continue;
    effect->changed_ids.push_back(backend.id());
    *put.Add() = backend;
  }
  if (effect->changed_ids.empty() && effect->removed_ids.empty()) return std::nullopt;
  if (effect->validate_only) return std::nullopt;
  if (auto failure = put_backends(next.get(), put, owner)) return failure;
  touch(next.get());
  remember(service);
  services_[service] = std::move(next);
  effect->changed = true;
  return std::nullopt;
}

DesiredState::Result DesiredState::update_backend(const std::string& service,
                                                  const v1::Backend& backend,
                                                  const google::protobuf::FieldMask& mask,
                                                  ChangeEffect* effect) {
  FieldErrors errors = validate_service_name(service, "service");
  const auto bad_id = validate_backend_reference(backend.id(), "backend.id");
  errors.insert(errors.end(), bad_id.begin(), bad_id.end());
  std::set<std::string> paths(mask.paths().begin(), mask.paths().end());
  if (paths.empty()) {
    if (!backend.address().empty()) paths.insert("address");
    if (backend.port() != 0) paths.insert("port");
    if (backend.has_weight()) paths.insert("weight");
    if (!backend.lease_id().empty()) paths.insert("lease_id");
  }
  static const std::set<std::string> kUpdatable = {"address", "port", "weight", "lease_id"};
  for (const auto& path : paths) {
    if (!kUpdatable.contains(path)) {
      errors.push_back(
          {"update_mask", "'" + path + "' is none of address, port, weight, lease_id"});
    }
  }
  if (!errors.empty()) return invalid_fields(std::move(errors));
  const auto found = services_.find(service);
  if (found == services_.end()) return service_not_found(service);
  const auto is = found->second->backends.find(backend.id());
  if (is == found->second->backends.end()) {
    return backend_not_found(service, backend.id(), "backend.id");
  }
  if (auto failure = check_etag(backend.etag(), is->second.version, "backend.etag",
                                "backend '" + backend.id() + "'")) {
    return failure;
  }
  v1::Backend next = to_message(backend.id(), is->second.definition);
  if (paths.contains("address")) next.set_address(backend.address());
  if (paths.contains("port")) next.set_port(backend.port());
  if (paths.contains("weight") && backend.has_weight()) next.set_weight(backend.weight());
  if (paths.contains("weight") && !backend.has_weight()) next.clear_weight();
  if (paths.contains("lease_id")) next.set_lease_id(backend.lease_id());
  Backends one;
  *one.Add() = next;
  // The paths of errors are those of a batch of one.
  const auto named = [](Failure failure) {
    for (auto& error : failure.fields) {
      if (error.field.starts_with("backends[0]")) error.field.replace(0, 11, "backend");
    }
    return failure;
  };
  const Administration administration = is->second.administration;
  const bool same_place = *IpAddress::parse(next.address()) == is->second.definition.address &&
                          next.port() == is->second.definition.port;
  if (!same_place || backend.id().find('~') == std::string::npos) {
    if (auto failure = check_backends(*found->second, one)) return named(*failure);
  } else if (next.has_weight() && (next.weight() < 1 || next.weight() > kMaxWeight)) {
    return invalid_fields({{"backend.weight", "must be 1 to 65535"}});
  }
  if (auto failure = check_leases(one, "backends")) return named(*failure);
  if (to_definition(next, is->second.definition.owner) == is->second.definition) {
    return std::nullopt;
  }
  if (effect->validate_only) return std::nullopt;
  ServiceRecord& record = edit(service);
  if (auto failure = put_backends(&record, one, Owner::Api)) return failure;
  if (same_place) record.backends.at(backend.id()).administration = administration;
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
  // The endpoints of other backends, once the batch is applied: two backends may trade places, and
  // one that leaves makes room.
  std::set<std::string> in_batch;
  for (const auto& backend : backends) in_batch.insert(backend.id());
  FieldErrors collisions;
  std::size_t n_more = 0;
  for (int i = 0; i < backends.size(); ++i) {
    const auto inner = indexed("backends", i);
    const v1::Backend& asked = backends[i];
    const Endpoint endpoint = to_definition(asked, Owner::Api).endpoint();
    if (auto why = why_no_backend_address(endpoint.first, *this); !why.empty()) {
      collisions.push_back({inner + ".address", std::move(why)});
    }
    const auto taken = service.id_at.find(endpoint);
    if (taken != service.id_at.end() && taken->second != asked.id() &&
        !in_batch.contains(taken->second) &&
        !service.backends.at(taken->second).administration.is_leaving()) {
      collisions.push_back({inner + ".address", "with this port is backend '" + taken->second +
                                                    "' of the service already"});
    }
    const auto is = service.backends.find(asked.id());
    n_more += is == service.backends.end() || is->second.definition.endpoint() != endpoint;
    if (asked.etag().empty()) continue;
    const std::uint64_t version = is == service.backends.end() ? 0 : is->second.version;
    if (auto failure =
            check_etag(asked.etag(), version, inner + ".etag", "backend '" + asked.id() + "'")) {
      return failure;
    }
  }
  if (!collisions.empty()) return address_in_use(std::move(collisions));
  if (service.backends.size() + n_more > static_cast<std::size_t>(kMaxBackendsPerService)) {
    return Failure{FailureCode::ResourceExhausted,
                   "BACKEND_LIMIT",
                   "the service would have more than 10000 backends, those that drain included",
                   {},
                   {{"service", service.definition.name}},
                   kDrainedRetention};
  }
  return std::nullopt;
}

DesiredState::Result DesiredState::check_leases(const Backends& backends,
                                                const std::string& path) const {
  FieldErrors errors;
  for (int i = 0; i < backends.size(); ++i) {
    const std::string& lease = backends[i].lease_id();
    if (lease.empty()) continue;
    const auto found = leases_.find(lease);
    if (found != leases_.end() && !found->second.expired) continue;
    errors.push_back({indexed(path, i) + ".lease_id", "there is no such lease, or it has run out"});
  }
  if (errors.empty()) return std::nullopt;
  return Failure{
      FailureCode::NotFound, "LEASE_NOT_FOUND", "a lease is not there", std::move(errors), {}};
}

bool DesiredState::take_slot(const ServiceRecord& service, BackendRecord* backend) {
  auto slot = load_slots_->acquire({backend->definition.endpoint(), service.definition.orca});
  if (!slot.handle) return false;
  backend->load_slot = std::move(slot.handle);
  auto& base = slot_bases_[*backend->load_slot];
  if (slot.fresh) {
    base = count_assigned(dataplane_, *backend);
    loads_.reset(*backend->load_slot);
  }
  backend->assigned_base = base;
  return true;
}

DesiredState::Result DesiredState::put_backends(ServiceRecord* record, const Backends& backends,
                                                Owner owner) {
  std::vector<BackendRecord> put;
  std::set<Endpoint> taken;
  for (const auto& message : backends) {
    BackendRecord backend{.definition = to_definition(message, owner), .load_slot = nullptr};
    backend.registered = clocks_.wall();
    const auto before = record->backends.find(message.id());
    if (before != record->backends.end() &&
        before->second.definition.endpoint() == backend.definition.endpoint()) {
      const BackendRecord& is = before->second;
      backend.registered = is.registered;
      backend.version = is.version;
      if (is.administration.state == Admin::Maintenance) backend.administration = is.administration;
      // What is equal but for its owner keeps the owner it has.
      const auto same = to_definition(message, is.definition.owner);
      if (same == is.definition) backend.definition = same;
    }
    if (!take_slot(*record, &backend)) {
      return Failure{FailureCode::ResourceExhausted,
                     "LOAD_SLOT_LIMIT",
                     "no load slot is free; those of removed backends are after 60 s",
                     {},
                     {},
                     kIndexQuarantine};
    }
    taken.insert(backend.definition.endpoint());
    put.push_back(std::move(backend));
  }
  // What was at those addresses and under those ids. What is at no address of the batch drains.
  std::vector<std::pair<std::string, BackendRecord>> displaced;
  for (int i = 0; i < backends.size(); ++i) {
    const auto before = record->backends.find(backends[i].id());
    if (before == record->backends.end()) continue;
    const bool same_record = is_same(before->second, backends[i]);
    if (!same_record) put[static_cast<std::size_t>(i)].version = 0;
    if (!taken.contains(before->second.definition.endpoint())) {
      displaced.emplace_back(backends[i].id(), before->second);
    }
    erase_backend(record, backends[i].id());
  }
  for (const Endpoint& endpoint : taken) {
    const auto at = record->id_at.find(endpoint);
    if (at != record->id_at.end()) erase_backend(record, std::string(at->second));
  }
  for (int i = 0; i < backends.size(); ++i) {
    auto& backend = put[static_cast<std::size_t>(i)];
    record->id_at[backend.definition.endpoint()] = backends[i].id();
    if (backend.version == 0) touch(record, &backend);
    record->backends[backends[i].id()] = std::move(backend);
  }
  for (auto& [id, backend] : displaced) drain_under_new_id(record, id, std::move(backend));
  return std::nullopt;
}

// A changed address is a new backend: the old one keeps its connections until they end.
void DesiredState::drain_under_new_id(ServiceRecord* record, const std::string& id,
                                      BackendRecord backend) {
  const std::string old_id = id.find('~') == std::string::npos ? id : id.substr(0, id.find('~'));
  const std::string drained_id = free_id(*record, old_id);
  backend.definition.lease.clear();  // it has become the new one's
  backend.lease_expired = false;
  BackendRecord& placed = record->backends[drained_id] = std::move(backend);
  record->id_at[placed.definition.endpoint()] = drained_id;
  start_drain(record, &placed, true,
              {.timeout = {}, .reason = "'" + id + "' has another address now", .etags = {}});
}

void DesiredState::erase_backend(ServiceRecord* record, const std::string& id) {
  const auto backend = record->backends.find(id);
  const auto at = record->id_at.find(backend->second.definition.endpoint());
  if (at != record->id_at.end() && at->second == id) record->id_at.erase(at);
  record->backends.erase(backend);
  touch(record);
}

}  // namespace crab
