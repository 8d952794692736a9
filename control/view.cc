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

Health View::health_of(const ServiceRecord& service, const BackendRecord& backend,
                       std::string* reason) const {
  const auto found = next_hops.find(backend.definition.address);
  const bool known = found != next_hops.end();
  if (known && found->second.state.next_hop) {
    if (!silent.load_slots.contains(*backend.load_slot) ||
        silent.suspected_services.contains(service.definition.name)) {
      return Health::Healthy;
    }
    if (reason != nullptr) *reason = service.definition.orca ? "ORCA silent" : "agent silent";
    return Health::Unhealthy;
  }
  if (reason != nullptr) {
    *reason = known && !found->second.state.reason.empty() ? found->second.state.reason
                                                           : "next hop not looked up yet";
  }
  return known && found->second.was_resolved ? Health::Unhealthy : Health::Initial;
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
