// SPDX-License-Identifier: Apache-2.0
#include "control/convert.h"

#include <algorithm>
#include <charconv>

namespace crab {
namespace {

ServiceKey parse_key(const std::string& hex) {
  ServiceKey key{};
  for (std::size_t i = 0; i < key.size(); ++i) {
    std::from_chars(hex.data() + 2 * i, hex.data() + 2 * i + 2, key[i], 16);
  }
  return key;
}

v1::Owner to_message(Owner owner) {
  return owner == Owner::Config ? v1::OWNER_CONFIG : v1::OWNER_API;
}

v1::BackendState to_message(Health health) {
  switch (health) {
    case Health::Initial:
      return v1::BACKEND_STATE_INITIAL;
    case Health::Healthy:
      return v1::BACKEND_STATE_HEALTHY;
    case Health::Unhealthy:
      return v1::BACKEND_STATE_UNHEALTHY;
  }
  __builtin_unreachable();
}

v1::DatapathStats to_message(const WorkerTotals& totals, const EdgeTotals& edge) {
  v1::DatapathStats stats;
  stats.set_received_packets(totals.n_rx_packets);
  stats.set_received_bytes(totals.n_rx_bytes);
  for (std::size_t i = 0; i < kVerdictCount; ++i) {
    const auto verdict = static_cast<Verdict>(i);
    auto* count = stats.add_verdicts();
    count->set_verdict(std::string(name_of(verdict)));
    count->set_class_(name_of(class_of(verdict)));
    count->set_packets(totals.verdict(verdict));
  }
  stats.set_recalled_syns(totals.n_recalled);
  stats.set_recall_stale(totals.n_recall_stale);
  stats.set_recall_evicted_young(totals.n_recall_evicted);
  stats.set_host_to_wire_packets(totals.n_host_to_wire);
  stats.set_host_to_wire_drops(totals.n_host_to_wire_drops);
  stats.set_missed_packets(edge.n_missed);
  stats.set_to_linux_packets(edge.n_to_linux);
  stats.set_to_linux_drops(edge.n_to_linux_drops);
  stats.set_from_linux_packets(edge.n_from_linux);
  stats.set_from_linux_drops(edge.n_from_linux_drops);
  return stats;
}

}  // namespace

const char* name_of(VerdictClass verdict_class) {
  switch (verdict_class) {
    case VerdictClass::Redirected:
      return "redirected";
    case VerdictClass::Answered:
      return "answered";
    case VerdictClass::Host:
      return "host";
    case VerdictClass::Dropped:
      return "dropped";
  }
  __builtin_unreachable();
}

ServiceDefinition to_definition(const v1::Service& service, Owner owner) {
  ServiceDefinition definition;
  definition.name = service.name();
  definition.address = *IpAddress::parse(service.address());
  definition.port = static_cast<std::uint16_t>(service.port());
  definition.policy = service.policy().name().empty() ? kDefaultPolicy : service.policy().name();
  definition.parameters.assign(service.policy().parameters().begin(),
                               service.policy().parameters().end());
  std::sort(definition.parameters.begin(), definition.parameters.end());
  definition.paper = service.option_form() == v1::OPTION_FORM_PAPER;
  for (const auto& key : service.keys()) definition.keys.push_back(parse_key(key));
  definition.announce = service.announce() != v1::ANNOUNCE_NONE;
  definition.owner = owner;
  return definition;
}

BackendDefinition to_definition(const v1::Backend& backend, Owner owner) {
  return {.address = *IpAddress::parse(backend.address()),
          .port = static_cast<std::uint16_t>(backend.port()),
          .weight = backend.has_weight() ? backend.weight() : 1,
          .owner = owner};
}

v1::Service to_message(const ServiceDefinition& service) {
  v1::Service message;
  message.set_name(service.name);
  message.set_address(service.address.to_string());
  message.set_port(service.port);
  message.mutable_policy()->set_name(service.policy);
  for (const auto& [name, value] : service.parameters) {
    (*message.mutable_policy()->mutable_parameters())[name] = value;
  }
  message.set_option_form(service.paper ? v1::OPTION_FORM_PAPER : v1::OPTION_FORM_CRAB);
  message.set_announce(service.announce ? v1::ANNOUNCE_ARP : v1::ANNOUNCE_NONE);
  message.set_owner(to_message(service.owner));
  return message;
}

v1::Backend to_message(const std::string& id, const BackendDefinition& backend) {
  v1::Backend message;
  message.set_id(id);
  message.set_address(backend.address.to_string());
  message.set_port(backend.port);
  message.set_weight(backend.weight);
  message.set_owner(to_message(backend.owner));
  return message;
}

v1::Backend to_message(const View& view, const std::string& id, const BackendRecord& backend,
                       const Dataplane& dataplane) {
  v1::Backend message = to_message(id, backend.definition);
  auto* status = message.mutable_status();
  std::string reason;
  status->set_state(to_message(view.health_of(backend.definition.address, &reason)));
  status->set_reason(reason);
  const auto info = view.next_hops.find(backend.definition.address);
  if (info != view.next_hops.end() && info->second.state.next_hop) {
    status->set_next_hop_mac(to_string(info->second.state.next_hop->destination));
  }
  status->set_assigned_connections(count_assigned(dataplane, backend));
  return message;
}

v1::ListServicesResponse list_services(const View& view) {
  v1::ListServicesResponse response;
  for (const auto& [name, record] : view.services) {
    *response.add_services() = to_message(record->definition);
  }
  response.set_revision(view.revision);
  return response;
}

v1::ListBackendsResponse list_backends(const View& view, const ServiceRecord& service,
                                       const Dataplane& dataplane) {
  v1::ListBackendsResponse response;
  for (const auto& [id, backend] : service.backends) {
    *response.add_backends() = to_message(view, id, backend, dataplane);
  }
  response.set_revision(view.revision);
  return response;
}

v1::GetStatsResponse get_stats(const View& view, const Dataplane& dataplane) {
  v1::GetStatsResponse response;
  WorkerTotals all;
  for (unsigned w = 0; w < dataplane.n_workers(); ++w) {
    const WorkerTotals totals = dataplane.counters(w).read();
    all += totals;
    auto* worker = response.add_workers();
    worker->set_worker(w);
    worker->set_received_packets(totals.n_rx_packets);
    worker->set_redirected_packets(totals.verdict(Verdict::Redirected));
    worker->set_bursts(totals.n_bursts);
    worker->set_empty_polls(totals.n_empty_polls);
  }
  *response.mutable_datapath() = to_message(all, dataplane.edge_totals());
  for (const auto& [name, record] : view.services) {
    auto* service = response.add_services();
    service->set_service(name);
    service->set_policy(record->definition.policy);
    service->set_assigned_connections(count_assigned(dataplane, *record));
    service->set_refused_packets(count_refused(dataplane, *record));
    service->set_backends(static_cast<std::uint32_t>(record->backends.size()));
    service->set_eligible_backends(view.count_eligible(*record));
  }
  response.set_revision(view.revision);
  return response;
}

}  // namespace crab
