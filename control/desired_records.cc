// SPDX-License-Identifier: Apache-2.0
// What of the desired state is durable, as records, and back.
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>

#include "control/convert.h"
#include "control/desired_state.h"
#include "crab/v1/state.pb.h"

namespace crab {
namespace {

constexpr std::chrono::hours kLongestWait{24};
// What an earlier life may have published beyond what was stored: changes of health are not.
constexpr std::uint64_t kRevisionsPerLife = std::uint64_t{1} << 32;
constexpr const char* kServicePrefix = "service/";
constexpr const char* kBackendInfix = "/backend/";
constexpr const char* kLeasePrefix = "lease/";

// The same bytes for the same message, so that what is unchanged is not written again.
std::string serialize(const google::protobuf::Message& message) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return bytes;
}

v1::AdminState to_stored(Admin state) {
  switch (state) {
    case Admin::InService:
      return v1::ADMIN_STATE_UNSPECIFIED;
    case Admin::Draining:
      return v1::ADMIN_STATE_DRAINING;
    case Admin::Drained:
      return v1::ADMIN_STATE_DRAINED;
    case Admin::Maintenance:
      return v1::ADMIN_STATE_MAINTENANCE;
  }
  __builtin_unreachable();
}

Admin from_stored(v1::AdminState state) {
  switch (state) {
    case v1::ADMIN_STATE_DRAINING:
      return Admin::Draining;
    case v1::ADMIN_STATE_DRAINED:
      return Admin::Drained;
    case v1::ADMIN_STATE_MAINTENANCE:
      return Admin::Maintenance;
    default:
      return Admin::InService;
  }
}

std::string service_key(const std::string& name) { return kServicePrefix + name; }
std::string backend_key(const std::string& service, const std::string& id) {
  return service_key(service) + kBackendInfix + id;
}

v1::StoredBackend to_stored(const std::string& id, const BackendRecord& backend) {
  v1::StoredBackend stored;
  *stored.mutable_backend() = to_message(id, backend.definition);
  const Administration& is = backend.administration;
  stored.set_state(to_stored(is.state));
  stored.set_deregistered(is.removes);
  stored.set_drained_by(to_message(is.drained_by));
  stored.set_reason(is.reason);
  if (is.takes_no_connections()) *stored.mutable_since() = to_timestamp(is.since);
  if (is.until.wall != WallTime{}) *stored.mutable_until() = to_timestamp(is.until.wall);
  stored.set_lease_expired(backend.lease_expired);
  *stored.mutable_registered() = to_timestamp(backend.registered);
  stored.set_version(backend.version);
  return stored;
}

void put_service(const ServiceRecord& record, DesiredState::Records* records) {
  v1::StoredService stored;
  *stored.mutable_service() = to_stored_message(record.definition);
  stored.set_version(record.version);
  stored.set_backends_revision(record.backends_revision);
  (*records)[service_key(record.definition.name)] = serialize(stored);
  for (const auto& [id, backend] : record.backends) {
    (*records)[backend_key(record.definition.name, id)] = serialize(to_stored(id, backend));
  }
}

void put_lease(const LeaseRecord& lease, DesiredState::Records* records) {
  v1::StoredLease stored;
  *stored.mutable_lease() = to_message(lease);
  (*records)[kLeasePrefix + lease.id] = serialize(stored);
}

std::string one_line(const std::string& key, const Failure& failure) {
  std::string line = key + ": " + failure.message;
  for (const auto& [field, why] : failure.fields) line += "; " + field + ": " + why;
  return line;
}

// The time that is left, by the wall clock of today: bounded, because that may have been set.
Deadline deadline_at(const Clocks& clocks, WallTime wall, std::chrono::nanoseconds at_least,
                     std::chrono::nanoseconds at_most) {
  const auto left = std::clamp<std::chrono::nanoseconds>(wall - clocks.wall(), at_least, at_most);
  return Deadline::in(clocks, std::chrono::ceil<std::chrono::milliseconds>(left));
}

}  // namespace

DesiredState::Records DesiredState::durable_records() const {
  Records records;
  for (const auto& [name, record] : services_) put_service(*record, &records);
  for (const auto& [id, lease] : leases_) put_lease(lease, &records);
  return records;
}

std::map<std::string, std::optional<std::string>> DesiredState::durable_changes() const {
  Records before;
  Records after;
  for (const auto& [name, original] : originals_) {
    if (original) put_service(*original, &before);
    const auto is = services_.find(name);
    if (is != services_.end()) put_service(*is->second, &after);
  }
  for (const auto& [id, original] : lease_originals_) {
    if (original) put_lease(*original, &before);
    const auto is = leases_.find(id);
    if (is != leases_.end()) put_lease(is->second, &after);
  }
  std::map<std::string, std::optional<std::string>> changes;
  for (const auto& [key, bytes] : before) {
    if (!after.contains(key)) changes[key] = std::nullopt;
  }
  for (auto& [key, bytes] : after) {
    const auto was = before.find(key);
    if (was == before.end() || was->second != bytes) changes[key] = std::move(bytes);
  }
  return changes;
}

DesiredState::Restored DesiredState::restore(const Records& records,
                                             std::chrono::milliseconds grace) {
  Restored restored;
  std::uint64_t last_revision = 0;
  const auto problem = [&](const std::string& key, const std::string& why) {
    restored.problems.push_back(key + ": " + why);
  };
  // Leases first, and each service before its backends, which is the order of their names.
  for (auto at = records.lower_bound(kLeasePrefix);
       at != records.end() && at->first.starts_with(kLeasePrefix); ++at) {
    v1::StoredLease stored;
    if (!stored.ParseFromString(at->second) || stored.lease().ttl_ms() == 0) {
      problem(at->first, "is no lease");
      continue;
    }
    LeaseRecord lease = to_record(stored.lease());
    lease.expired = stored.lease().expired();
    lease.until = deadline_at(clocks_, from_timestamp(stored.lease().expires()), grace,
                              std::max<std::chrono::nanoseconds>(lease.ttl, grace));
    leases_[lease.id] = lease;
  }
  for (auto at = records.lower_bound(kServicePrefix);
       at != records.end() && at->first.starts_with(kServicePrefix); ++at) {
    const auto& [key, bytes] = *at;
    const auto infix = key.find(kBackendInfix);
    if (infix == std::string::npos) {
      v1::StoredService stored;
      if (!stored.ParseFromString(bytes)) {
        problem(key, "is no service");
        continue;
      }
      last_version_ = std::max(last_version_, stored.version());
      last_revision = std::max(last_revision, stored.backends_revision());
      const std::string& name = stored.service().name();
      // The file's are there already, or are no more.
      if (stored.service().owner() == v1::OWNER_CONFIG) continue;
      if (services_.contains(name)) {
        problem(key, "is the configuration file's now");
        continue;
      }
      ChangeEffect ignored;
      if (auto failure = create_service(stored.service(), Owner::Api, &ignored)) {
        restored.problems.push_back(one_line(key, *failure));
        continue;
      }
      services_.at(name)->version = stored.version();
      services_.at(name)->backends_revision = stored.backends_revision();
      continue;
    }
    v1::StoredBackend stored;
    if (!stored.ParseFromString(bytes)) {
      problem(key, "is no backend");
      continue;
    }
    last_version_ = std::max(last_version_, stored.version());
    const std::string name =
        key.substr(std::string(kServicePrefix).size(), infix - std::string(kServicePrefix).size());
    const auto service = services_.find(name);
    if (service == services_.end()) continue;  // said above, or the file has dropped it
    restore_backend(key, stored, service->second.get(), &restored);
  }
  restored.revision = last_revision == 0 ? 0 : last_revision + kRevisionsPerLife;
  return restored;
}

void DesiredState::restore_backend(const std::string& key, const v1::StoredBackend& stored,
                                   ServiceRecord* service, Restored* restored) {
  const v1::Backend& message = stored.backend();
  const bool is_files = message.owner() == v1::OWNER_CONFIG;
  const auto known = service->backends.find(message.id());
  // Of the file's backends only what an operator has set is kept; one that was deregistered is
  // back.
  if (is_files && (known == service->backends.end() || stored.deregistered())) return;
  if (!is_files) {
    Backends one;
    *one.Add() = message;
    // No caller can give the id of one that drains for another with its id; the rest is checked.
    const auto tilde = message.id().find('~');
    if (tilde != std::string::npos) one[0].set_id("displaced");
    auto failure = check_backends(*service, one);
    // A lease that is marked is expired, and its backends may have it.
    if (!failure && !stored.lease_expired()) failure = check_leases(one, "backends");
    one[0].set_id(message.id());
    if (!failure) failure = put_backends(service, one, Owner::Api);
    if (failure) {
      restored->problems.push_back(one_line(key, *failure));
      return;
    }
  }
  BackendRecord& backend = service->backends.at(message.id());
  Administration& is = backend.administration;
  is = {.state = from_stored(stored.state()),
        .removes = stored.deregistered(),
        .drained_by = from_message(stored.drained_by()),
        .reason = stored.reason(),
        .since = from_timestamp(stored.since())};
  if (stored.has_until()) {
    is.until = deadline_at(clocks_, from_timestamp(stored.until()), {}, kLongestWait);
  }
  backend.lease_expired = stored.lease_expired();
  backend.registered = from_timestamp(stored.registered());
  backend.version = stored.version();
}

}  // namespace crab
