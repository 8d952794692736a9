// SPDX-License-Identifier: Apache-2.0
// Leases of the desired state. Which of them run out when is lease_watch.h's.
#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "control/convert.h"
#include "control/desired_state.h"

namespace crab {
namespace {

constexpr std::uint32_t kMinTtlMs = 500;
constexpr std::uint32_t kMaxTtlMs = 86'400'000;
constexpr std::uint32_t kMaxDrainSeconds = 86'400;

Failure lease_not_found(const std::string& id, const std::string& field) {
  return {FailureCode::NotFound,
          "LEASE_NOT_FOUND",
          "there is no lease '" + id + "'",
          {{field, "is not known, or has run out"}},
          {{"lease", id}}};
}

std::string new_id() {
  std::random_device random;
  return fmt::format("lease-{:08x}{:08x}", random(), random());
}

}  // namespace

DesiredState::Result DesiredState::grant_lease(const v1::Lease& lease, ChangeEffect* effect) {
  FieldErrors errors;
  if (!lease.id().empty()) errors = validate_backend_id(lease.id(), "lease.id");
  if (lease.ttl_ms() < kMinTtlMs || lease.ttl_ms() > kMaxTtlMs) {
    errors.push_back({"lease.ttl_ms", "must be 500 to 86400000"});
  }
  if (!v1::OnExpiry_IsValid(lease.on_expiry())) {
    errors.push_back({"lease.on_expiry", "unknown value"});
  }
  if (lease.drain_timeout_seconds() > kMaxDrainSeconds) {
    errors.push_back({"lease.drain_timeout_seconds", "must be at most 86400"});
  }
  if (!errors.empty()) return invalid_fields(std::move(errors));
  LeaseRecord record = to_record(lease);
  record.until = Deadline::in(clocks_, record.ttl);
  if (record.id.empty()) record.id = new_id();
  effect->lease = record.id;
  const auto is = leases_.find(record.id);
  if (is != leases_.end()) {
    if (is->second.ttl != record.ttl || is->second.on_expiry != record.on_expiry ||
        is->second.drain_timeout != record.drain_timeout) {
      return Failure{FailureCode::AlreadyExists,
                     "LEASE_EXISTS",
                     "lease '" + record.id + "' exists with other fields",
                     {{"lease.id", "is another lease's"}},
                     {{"lease", record.id}}};
    }
    if (effect->validate_only) return std::nullopt;
    bool revives = false;
    keep_alive(record.id, &revives);
    return revives ? revive_lease(record.id, effect) : std::nullopt;
  }
  if (leases_.size() >= kMaxLeases) {
    return Failure{FailureCode::ResourceExhausted, "LEASE_LIMIT", "there are 10000 leases", {}, {}};
  }
  if (effect->validate_only) return std::nullopt;
  edit_lease(record.id) = std::move(record);
  effect->changed = true;
  return std::nullopt;
}

DesiredState::Result DesiredState::revoke_lease(const std::string& id, ChangeEffect* effect) {
  if (auto errors = validate_backend_id(id, "lease_id"); !errors.empty()) {
    return invalid_fields(std::move(errors));
  }
  if (!leases_.contains(id)) return lease_not_found(id, "lease_id");
  if (effect->validate_only) return std::nullopt;
  return end_lease(id, true, effect);
}

DesiredState::Result DesiredState::expire_lease(const std::string& id, ChangeEffect* effect) {
  const auto found = leases_.find(id);
  // Kept alive, or ended, since it was looked at.
  if (found == leases_.end() || found->second.expired || !found->second.until.has_passed(clocks_)) {
    return std::nullopt;
  }
  return end_lease(id, false, effect);
}

DesiredState::Result DesiredState::end_lease(const std::string& id, bool revoked,
                                             ChangeEffect* effect) {
  const LeaseRecord lease = leases_.at(id);
  const std::string why = revoked ? "lease revoked" : "lease expired";
  for (const auto& [name, service] : Services(services_)) {
    std::vector<std::string> ids;
    for (const auto& [backend_id, backend] : service->backends) {
      if (backend.definition.lease == id) ids.push_back(backend_id);
    }
    if (ids.empty()) continue;
    ServiceRecord& record = edit(name);
    for (const auto& backend_id : ids) {
      BackendRecord& backend = record.backends.at(backend_id);
      switch (lease.on_expiry) {
        case OnExpiry::Drain:
          backend.definition.lease.clear();
          start_drain(&record, &backend, true,
                      {.timeout = lease.drain_timeout, .reason = why, .etags = {}});
          effect->removed_ids.push_back(backend_id);
          break;
        case OnExpiry::MarkUnhealthy:
          backend.lease_expired = true;
          touch(&record, &backend);
          break;
        case OnExpiry::Remove:
          erase_backend(&record, backend_id);
          effect->removed_ids.push_back(backend_id);
          break;
      }
    }
  }
  remember_lease(id);
  if (!revoked && lease.on_expiry == OnExpiry::MarkUnhealthy) {
    leases_.at(id).expired = true;
  } else {
    leases_.erase(id);
  }
  effect->changed = true;
  return std::nullopt;
}

bool DesiredState::keep_alive(const std::string& id, bool* revives) {
  const auto found = leases_.find(id);
  if (found == leases_.end()) return false;
  LeaseRecord& lease = found->second;
  lease.until = Deadline::in(clocks_, lease.ttl);
  *revives = lease.expired;
  // What is taken back later is not the time that it was given.
  const auto original = lease_originals_.find(id);
  if (original != lease_originals_.end() && original->second) {
    original->second->until = lease.until;
  }
  return true;
}

DesiredState::Result DesiredState::revive_lease(const std::string& id, ChangeEffect* effect) {
  const auto found = leases_.find(id);
  if (found == leases_.end() || !found->second.expired) return std::nullopt;
  edit_lease(id).expired = false;
  for (const auto& [name, service] : Services(services_)) {
    const bool has_any =
        std::any_of(service->backends.begin(), service->backends.end(), [&](const auto& backend) {
          return backend.second.definition.lease == id && backend.second.lease_expired;
        });
    if (!has_any) continue;
    ServiceRecord& record = edit(name);
    for (auto& [backend_id, backend] : record.backends) {
      if (backend.definition.lease != id || !backend.lease_expired) continue;
      backend.lease_expired = false;
      touch(&record, &backend);
    }
  }
  effect->changed = true;
  return std::nullopt;
}

}  // namespace crab
