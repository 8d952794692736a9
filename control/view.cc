// SPDX-License-Identifier: Apache-2.0
#include "control/view.h"

namespace crab {
namespace {

template <typename Read>
std::uint64_t sum_over_workers(const Dataplane& dataplane, Read read) {
  std::uint64_t sum = 0;
  for (unsigned w = 0; w < dataplane.n_workers(); ++w) sum += read(dataplane.counters(w));
  return sum;
}

ServiceSpec make_service_spec(const View& view, const ServiceRecord& record) {
  const ServiceDefinition& definition = record.definition;
  ServiceSpec spec;
  spec.id = *record.id;
  spec.address = definition.address;
  spec.port = to_be(definition.port);
  spec.form = definition.paper ? RedirectForm::Paper
                               : form_for(definition.address.family, !definition.keys.empty());
  if (!definition.keys.empty()) spec.key = definition.keys.front();
  spec.policy = record.policy;
  const bool ramps = view.ramps.contains(definition.name);
  for (const auto& [id, backend] : record.backends) {
    if (!view.is_eligible(record, backend)) continue;
    const auto& address = backend.definition.address;
    const std::uint32_t tenths = ramps ? view.tenths_of_weight(record, backend) : 1;
    spec.eligible.push_back({.id = id,
                             .address = address,
                             .port = to_be(backend.definition.port),
                             .weight = backend.definition.weight * tenths,
                             .load_slot = *backend.load_slot,
                             .next_hop = *view.next_hops.at(address).state.next_hop});
  }
  return spec;
}

}  // namespace

const ServiceRecord* View::find(const std::string& name) const {
  const auto found = services.find(name);
  return found == services.end() ? nullptr : found->second.get();
}

const HealthVerdict* View::verdict_on(const ServiceRecord& service,
                                      const BackendRecord& backend) const {
  const auto of_service = verdicts.find(service.definition.name);
  if (of_service == verdicts.end()) return nullptr;
  const auto found = of_service->second->find(*backend.load_slot);
  return found == of_service->second->end() ? nullptr : &found->second;
}

Health View::health_of(const ServiceRecord& service, const BackendRecord& backend,
                       std::string* reason) const {
  const auto because = [reason](Health health, const std::string& why) {
    if (reason != nullptr) *reason = why;
    return health;
  };
  const Administration& administration = backend.administration;
  switch (administration.state) {
    case Admin::Draining:
      return because(Health::Draining, administration.reason);
    case Admin::Drained:
      return because(Health::Drained, administration.reason);
    case Admin::Maintenance:
      return because(Health::Maintenance, administration.reason);
    case Admin::InService:
      break;
  }
  const auto found = next_hops.find(backend.definition.address);
  const bool known = found != next_hops.end();
  if (!known || !found->second.state.next_hop) {
    const bool was_resolved = known && found->second.was_resolved;
    return because(was_resolved ? Health::Unhealthy : Health::Initial,
                   known && !found->second.state.reason.empty() ? found->second.state.reason
                                                                : "next hop not looked up yet");
  }
  if (backend.lease_expired) return because(Health::Unhealthy, "lease expired");
  if (service.definition.checked) {
    const HealthVerdict* verdict = verdict_on(service, backend);
    if (verdict == nullptr) return because(Health::Initial, "not checked yet");
    if (!verdict->healthy) return because(Health::Unhealthy, verdict->reason);
  }
  if (silent.load_slots.contains(*backend.load_slot) &&
      !silent.suspected_services.contains(service.definition.name)) {
    return because(Health::Unhealthy, service.definition.orca ? "ORCA silent" : "agent silent");
  }
  return Health::Healthy;
}

const BackendStatus& View::status_of(const ServiceRecord& service, const std::string& id) const {
  static const BackendStatus kUnknown;
  const auto of_service = statuses.find(service.definition.name);
  if (of_service == statuses.end()) return kUnknown;
  const auto found = of_service->second->find(id);
  return found == of_service->second->end() ? kUnknown : found->second;
}

bool View::is_eligible(const ServiceRecord& service, const BackendRecord& backend) const {
  const Health health = health_of(service, backend);
  const auto below = below_minimum.find(service.definition.name);
  if (below == below_minimum.end()) return health == Health::Healthy;
  if (below->second == WhenBelow::None) return false;
  if (health != Health::Healthy && health != Health::Unhealthy) return false;
  const auto next_hop = next_hops.find(backend.definition.address);
  if (next_hop == next_hops.end() || !next_hop->second.state.next_hop) return false;
  const HealthVerdict* verdict = verdict_on(service, backend);
  return verdict == nullptr || !verdict->unusable;
}

void judge_minima(View* view) {
  view->below_minimum.clear();
  for (const auto& [name, service] : view->services) {
    const std::uint32_t minimum = service->definition.min_healthy_percent;
    if (minimum == 0) continue;
    std::size_t n_healthy = 0;
    std::size_t n_judged = 0;
    for (const auto& [id, backend] : service->backends) {
      const Health health = view->health_of(*service, backend);
      n_healthy += health == Health::Healthy;
      n_judged += health == Health::Healthy || health == Health::Unhealthy;
    }
    if (n_healthy * 100 >= minimum * n_judged) continue;
    view->below_minimum.emplace(name, service->definition.when_below);
  }
}

void follow_statuses(const View& before, WallTime now, View* view) {
  view->statuses.clear();
  for (const auto& [name, service] : view->services) {
    const auto old_service = before.services.find(name);
    const auto old_statuses = before.statuses.find(name);
    const bool is_known =
        old_service != before.services.end() && old_statuses != before.statuses.end();
    auto statuses = std::make_shared<Statuses>();
    for (const auto& [id, backend] : service->backends) {
      BackendStatus status;
      status.health = view->health_of(*service, backend, &status.reason);
      status.since =
          backend.administration.takes_no_connections() ? backend.administration.since : now;
      if (is_known && !backend.administration.takes_no_connections()) {
        const auto old = old_statuses->second->find(id);
        const auto old_backend = old_service->second->backends.find(id);
        const bool same = old != old_statuses->second->end() &&
                          old_backend != old_service->second->backends.end() &&
                          old_backend->second.load_slot == backend.load_slot;
        if (same && old->second.health == status.health) status.since = old->second.since;
      }
      statuses->emplace_hint(statuses->end(), id, std::move(status));
    }
    if (is_known && *statuses == *old_statuses->second) {
      view->statuses.emplace(name, old_statuses->second);
    } else {
      view->statuses.emplace(name, std::move(statuses));
    }
  }
}

std::uint32_t View::count_eligible(const ServiceRecord& service) const {
  std::uint32_t n = 0;
  for (const auto& [id, backend] : service.backends) {
    n += is_eligible(service, backend);
  }
  return n;
}

std::uint32_t View::tenths_of_weight(const ServiceRecord& service,
                                     const BackendRecord& backend) const {
  const auto ramping = ramps.find(service.definition.name);
  if (ramping == ramps.end()) return kRampSteps;
  const auto found = ramping->second.find(*backend.load_slot);
  return found == ramping->second.end() ? kRampSteps : found->second;
}

SnapshotSpec make_snapshot_spec(const View& view, std::uint8_t node) {
  SnapshotSpec spec{.generation = view.revision, .node = node, .services = {}};
  spec.services.reserve(view.services.size());
  for (const auto& [name, record] : view.services) {
    spec.services.push_back(make_service_spec(view, *record));
  }
  return spec;
}

std::uint64_t count_assigned(const Dataplane& dataplane, const ServiceRecord& service) {
  return sum_over_workers(
             dataplane,
             [&](const auto& worker) { return worker.assigned_to_service(*service.id); }) -
         service.assigned_base;
}

std::uint64_t count_refused(const Dataplane& dataplane, const ServiceRecord& service) {
  return sum_over_workers(
             dataplane,
             [&](const auto& worker) { return worker.refused_by_service(*service.id); }) -
         service.refused_base;
}

std::uint64_t count_assigned(const Dataplane& dataplane, const BackendRecord& backend) {
  return count_assigned_to(dataplane, *backend.load_slot) - backend.assigned_base;
}

std::uint64_t count_assigned_to(const Dataplane& dataplane, std::uint32_t load_slot) {
  return sum_over_workers(dataplane,
                          [&](const auto& worker) { return worker.assigned_to_slot(load_slot); });
}

}  // namespace crab
