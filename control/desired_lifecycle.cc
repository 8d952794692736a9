// SPDX-License-Identifier: Apache-2.0
// Administrative states: drains and maintenance.
#include <algorithm>
#include <set>

#include "control/desired_state.h"

namespace crab {
namespace {

constexpr std::size_t kMaxReason = 255;
constexpr std::chrono::seconds kMaxDrainTimeout{86'400};

// An operator's or a caller's own words, behind what has happened.
std::string reason_for(const std::string& what, const std::string& why) {
  return why.empty() ? what : what + ": " + why;
}

}  // namespace

DesiredState::Result DesiredState::check_ids(const std::string& service,
                                             const std::vector<std::string>& ids,
                                             const DrainOptions& options, bool must_exist) const {
  FieldErrors errors = validate_service_name(service, "service");
  if (ids.empty()) errors.push_back({"ids", "is empty"});
  if (ids.size() > static_cast<std::size_t>(kMaxBatch)) {
    return invalid_fields({{"ids", "more than 1000 in one request"}});
  }
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto bad = validate_backend_reference(ids[i], indexed("ids", i));
    errors.insert(errors.end(), bad.begin(), bad.end());
  }
  if (options.timeout && *options.timeout > kMaxDrainTimeout) {
    errors.push_back({"drain_timeout_seconds", "must be at most 86400"});
  }
  const bool printable = std::all_of(options.reason.begin(), options.reason.end(),
                                     [](char c) { return c >= ' ' && c <= '~'; });
  if (options.reason.size() > kMaxReason || !printable) {
    errors.push_back({"reason", "must be at most 255 printable ASCII characters"});
  }
  for (const auto& [id, etag] : options.etags) {
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) {
      errors.push_back({"etags", "'" + id.substr(0, 64) + "' is none of the ids"});
    }
  }
  if (!errors.empty()) return invalid_fields(std::move(errors));
  const auto found = services_.find(service);
  if (found == services_.end()) return service_not_found(service);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto backend = found->second->backends.find(ids[i]);
    const bool known = backend != found->second->backends.end();
    if (!known && must_exist) return backend_not_found(service, ids[i], indexed("ids", i));
    const auto etag = options.etags.find(ids[i]);
    if (etag == options.etags.end()) continue;
    if (auto failure = check_etag(etag->second, known ? backend->second.version : 0,
                                  "etags[" + ids[i] + "]", "backend '" + ids[i] + "'")) {
      return failure;
    }
  }
  return std::nullopt;
}

// Returns whether that changes anything. A drain that is under way ends no later for it, and no
// sooner unless a time is asked for.
bool DesiredState::start_drain(ServiceRecord* record, BackendRecord* backend, bool removes,
                               const DrainOptions& options) {
  Administration& is = backend->administration;
  const Administration before = is;
  const auto deadline = Deadline::in(clocks_, options.timeout.value_or(kDefaultDrainTimeout));
  switch (is.state) {
    case Admin::InService:
    case Admin::Maintenance:
      is = {.state = Admin::Draining,
            .removes = removes,
            .drained_by = DrainedBy::Nothing,
            .reason = reason_for(removes ? "deregistered" : "drained by request", options.reason),
            .since = clocks_.wall(),
            .until = deadline};
      break;
    case Admin::Draining:
      is.removes |= removes;
      if (options.timeout && deadline.steady < is.until.steady) is.until = deadline;
      break;
    case Admin::Drained:
      if (removes && !is.removes) is.until = Deadline::in(clocks_, kDrainedRetention);
      is.removes |= removes;
      break;
  }
  const bool changed = before.state != is.state || before.removes != is.removes ||
                       before.until.steady != is.until.steady;
  if (changed) touch(record, backend);
  return changed;
}

DesiredState::Result DesiredState::deregister_backends(const std::string& service,
                                                       const std::vector<std::string>& ids,
                                                       const DrainOptions& options,
                                                       ChangeEffect* effect) {
  if (auto failure = check_ids(service, ids, options, false)) return failure;
  const ServiceRecord& is = *services_.at(service);
  const bool at_once = options.force || (options.timeout && options.timeout->count() == 0);
  std::set<std::string> asked;
  for (const auto& id : ids) {
    const auto backend = is.backends.find(id);
    if (backend == is.backends.end() || !asked.insert(id).second) continue;
    if (at_once || !backend->second.administration.is_leaving()) effect->removed_ids.push_back(id);
  }
  if (asked.empty() || effect->validate_only) return std::nullopt;
  // A repetition changes nothing, and copies nothing.
  if (effect->removed_ids.empty() && !options.timeout) return std::nullopt;
  ServiceRecord& record = edit(service);
  for (const auto& id : asked) {
    if (at_once) {
      erase_backend(&record, id);
      effect->changed = true;
    } else {
      effect->changed |= start_drain(&record, &record.backends.at(id), true, options);
    }
  }
  return std::nullopt;
}

DesiredState::Result DesiredState::drain_backends(const std::string& service,
                                                  const std::vector<std::string>& ids,
                                                  const DrainOptions& options,
                                                  ChangeEffect* effect) {
  if (auto failure = check_ids(service, ids, options, true)) return failure;
  if (effect->validate_only) return std::nullopt;
  ServiceRecord& record = edit(service);
  for (const auto& id : std::set<std::string>(ids.begin(), ids.end())) {
    BackendRecord& backend = record.backends.at(id);
    if (!start_drain(&record, &backend, false, options)) continue;
    effect->changed = true;
    effect->changed_ids.push_back(id);
  }
  return std::nullopt;
}

DesiredState::Result DesiredState::set_maintenance(const std::string& service,
                                                   const std::vector<std::string>& ids,
                                                   bool maintenance, const DrainOptions& options,
                                                   ChangeEffect* effect) {
  if (auto failure = check_ids(service, ids, options, true)) return failure;
  if (effect->validate_only) return std::nullopt;
  ServiceRecord& record = edit(service);
  for (const auto& id : std::set<std::string>(ids.begin(), ids.end())) {
    BackendRecord& backend = record.backends.at(id);
    Administration& is = backend.administration;
    // What is deregistered goes, whatever an operator does meanwhile.
    if (is.is_leaving() || maintenance == (is.state == Admin::Maintenance)) continue;
    // Undoing it leaves alone what drains.
    if (!maintenance && is.state != Admin::Maintenance) continue;
    is = {};
    if (maintenance) {
      is.state = Admin::Maintenance;
      is.reason = reason_for("in maintenance", options.reason);
    }
    is.since = clocks_.wall();
    touch(&record, &backend);
    effect->changed = true;
    effect->changed_ids.push_back(id);
  }
  return std::nullopt;
}

DesiredState::Result DesiredState::finish_drain(const std::string& service, const std::string& id,
                                                DrainedBy by, const std::string& reason,
                                                ChangeEffect* effect) {
  const auto found = services_.find(service);
  if (found == services_.end()) return std::nullopt;
  const auto is = found->second->backends.find(id);
  if (is == found->second->backends.end() || is->second.administration.state != Admin::Draining) {
    return std::nullopt;
  }
  ServiceRecord& record = edit(service);
  BackendRecord& backend = record.backends.at(id);
  Administration& administration = backend.administration;
  administration.state = Admin::Drained;
  administration.drained_by = by;
  administration.reason = reason;
  administration.since = clocks_.wall();
  administration.until = Deadline::in(clocks_, kDrainedRetention);
  touch(&record, &backend);
  effect->changed = true;
  return std::nullopt;
}

DesiredState::Result DesiredState::remove_drained(const std::string& service, const std::string& id,
                                                  ChangeEffect* effect) {
  const auto found = services_.find(service);
  if (found == services_.end()) return std::nullopt;
  const auto is = found->second->backends.find(id);
  if (is == found->second->backends.end()) return std::nullopt;
  const Administration& administration = is->second.administration;
  if (administration.state != Admin::Drained || !administration.removes) return std::nullopt;
  erase_backend(&edit(service), id);
  effect->changed = true;
  return std::nullopt;
}

}  // namespace crab
