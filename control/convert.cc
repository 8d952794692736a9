// SPDX-License-Identifier: Apache-2.0
#include "control/convert.h"

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <charconv>
#include <tuple>

namespace crab {
namespace {

ServiceKey parse_key(const std::string& hex) {
  ServiceKey key{};
  for (std::size_t i = 0; i < key.size(); ++i) {
    std::from_chars(hex.data() + 2 * i, hex.data() + 2 * i + 2, key[i], 16);
  }
  return key;
}

std::optional<OrcaSettings> to_orca(const v1::LoadSignal& signal) {
  if (signal.source() != v1::LoadSignal::SOURCE_ORCA) return std::nullopt;
  return OrcaSettings{
      .metric = signal.metric().empty() ? kDefaultOrcaMetric : signal.metric(),
      .port = static_cast<std::uint16_t>(signal.port()),
      .interval = std::chrono::milliseconds(signal.interval_ms() == 0 ? kDefaultOrcaIntervalMs
                                                                      : signal.interval_ms())};
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
    case Health::Draining:
      return v1::BACKEND_STATE_DRAINING;
    case Health::Drained:
      return v1::BACKEND_STATE_DRAINED;
    case Health::Maintenance:
      return v1::BACKEND_STATE_MAINTENANCE;
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

v1::LoadSource source_of(const BackendLoad& load) {
  if (load.silent) return v1::LOAD_SOURCE_SILENT;
  if (load.load.source == CRAB_LOAD_EVENT) return v1::LOAD_SOURCE_EVENT;
  if (load.load.source == CRAB_LOAD_PERIODIC) return v1::LOAD_SOURCE_PERIODIC;
  return v1::LOAD_SOURCE_ASSIGNED;
}

double seconds(LoadTable::Time time) { return std::chrono::duration<double>(time).count(); }

v1::BackendLoad to_message(const BackendLoad& load) {
  v1::BackendLoad message;
  message.set_source(source_of(load));
  message.set_open(load.load.open);
  message.set_unconfirmed(load.load.unconfirmed);
  message.set_accepted_own(load.load.accepted_own);
  message.set_accepted_total(load.load.accepted_total);
  message.set_closed_total(load.closed_total);
  if (load.report_age) message.set_report_age_seconds(seconds(*load.report_age));
  message.set_written_off(load.n_written_off);
  return message;
}

v1::ServiceStats stats_of(const NodeState& node, const ServiceRecord& record) {
  const ServiceLoad& load = node.loads.service(record.definition.name);
  v1::ServiceStats stats;
  stats.set_service(record.definition.name);
  stats.set_policy(record.definition.policy);
  stats.set_assigned_connections(count_assigned(node.dataplane, record));
  stats.set_refused_packets(count_refused(node.dataplane, record));
  stats.set_backends(static_cast<std::uint32_t>(record.backends.size()));
  stats.set_eligible_backends(node.view.count_eligible(record));
  stats.set_policy_rule(load.rule);
  stats.set_reporting_backends(load.n_reporting);
  stats.set_silent_backends(load.n_silent);
  stats.set_unreported_backends(load.n_unreported);
  stats.set_path_suspected(load.path_suspected);
  if (load.oldest_age) stats.set_oldest_report_age_seconds(seconds(*load.oldest_age));
  stats.set_unconfirmed_connections(load.n_unconfirmed);
  stats.set_written_off_connections(load.n_written_off);
  stats.set_skew(load.skew);
  stats.set_regret(load.regret);
  stats.set_below_minimum(node.view.below_minimum.contains(record.definition.name));
  stats.set_leases_frozen(node.view.frozen.contains(record.definition.name));
  std::uint32_t n_draining = 0;
  for (const auto& [id, backend] : record.backends) {
    n_draining += backend.administration.state == Admin::Draining;
  }
  stats.set_draining_backends(n_draining);
  return stats;
}

v1::LoadReportStats to_message(const ReportCounters& reports) {
  v1::LoadReportStats stats;
  stats.set_datagrams(reports.n_datagrams.load(std::memory_order_relaxed));
  stats.set_records(reports.n_records.load(std::memory_order_relaxed));
  for (std::size_t i = 1; i < kNReportRefusals; ++i) {
    auto* refusal = stats.add_refusals();
    refusal->set_reason(name_of_refusal(i));
    refusal->set_count(reports.n_refused[i].load(std::memory_order_relaxed));
  }
  stats.set_agents(reports.n_agents.load(std::memory_order_relaxed));
  stats.set_orca_reports(reports.n_orca_reports.load(std::memory_order_relaxed));
  stats.set_orca_unusable_reports(reports.n_orca_unusable.load(std::memory_order_relaxed));
  stats.set_orca_streams_ended(reports.n_orca_ended.load(std::memory_order_relaxed));
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

google::protobuf::Timestamp to_timestamp(WallTime time) {
  return google::protobuf::util::TimeUtil::NanosecondsToTimestamp(
      std::chrono::nanoseconds(time.time_since_epoch()).count());
}

WallTime from_timestamp(const google::protobuf::Timestamp& time) {
  return WallTime(
      std::chrono::nanoseconds(google::protobuf::util::TimeUtil::TimestampToNanoseconds(time)));
}

v1::DrainedBy to_message(DrainedBy by) {
  switch (by) {
    case DrainedBy::Nothing:
      return v1::DRAINED_BY_UNSPECIFIED;
    case DrainedBy::ZeroConnections:
      return v1::DRAINED_BY_ZERO_CONNECTIONS;
    case DrainedBy::Deadline:
      return v1::DRAINED_BY_DEADLINE;
  }
  __builtin_unreachable();
}

DrainedBy from_message(v1::DrainedBy by) {
  if (by == v1::DRAINED_BY_ZERO_CONNECTIONS) return DrainedBy::ZeroConnections;
  return by == v1::DRAINED_BY_DEADLINE ? DrainedBy::Deadline : DrainedBy::Nothing;
}

v1::ControlStats to_message(const ControlCounters& counters) {
  v1::ControlStats stats;
  stats.set_watch_streams(counters.n_watch_streams);
  stats.set_slow_watchers(counters.n_slow_watchers);
  stats.set_repeated_requests(counters.n_repeated_requests);
  stats.set_drained_by_zero_connections(counters.n_drained_by_zero);
  stats.set_drained_by_deadline(counters.n_drained_by_deadline);
  stats.set_leases(counters.n_leases);
  stats.set_expired_leases(counters.n_expired_leases);
  return stats;
}

LeaseRecord to_record(const v1::Lease& lease) {
  LeaseRecord record;
  record.id = lease.id();
  record.ttl = std::chrono::milliseconds(lease.ttl_ms());
  record.on_expiry = lease.on_expiry() == v1::ON_EXPIRY_MARK_UNHEALTHY ? OnExpiry::MarkUnhealthy
                     : lease.on_expiry() == v1::ON_EXPIRY_REMOVE       ? OnExpiry::Remove
                                                                       : OnExpiry::Drain;
  record.drain_timeout = lease.has_drain_timeout_seconds()
                             ? std::chrono::seconds(lease.drain_timeout_seconds())
                             : kDefaultDrainTimeout;
  return record;
}

v1::Lease to_message(const LeaseRecord& lease) {
  v1::Lease message;
  message.set_id(lease.id);
  message.set_ttl_ms(static_cast<std::uint32_t>(lease.ttl.count()));
  message.set_on_expiry(lease.on_expiry == OnExpiry::MarkUnhealthy ? v1::ON_EXPIRY_MARK_UNHEALTHY
                        : lease.on_expiry == OnExpiry::Remove      ? v1::ON_EXPIRY_REMOVE
                                                                   : v1::ON_EXPIRY_DRAIN);
  message.set_drain_timeout_seconds(static_cast<std::uint32_t>(
      std::chrono::duration_cast<std::chrono::seconds>(lease.drain_timeout).count()));
  *message.mutable_expires() = to_timestamp(lease.until.wall);
  message.set_expired(lease.expired);
  return message;
}

ServiceDefinition to_definition(const v1::Service& service, Owner owner) {
  ServiceDefinition definition;
  definition.name = service.name();
  definition.address = *IpAddress::parse(service.address());
  definition.port = static_cast<std::uint16_t>(service.port());
  std::tie(definition.policy, definition.parameters) = to_definition(service.policy());
  definition.paper = service.option_form() == v1::OPTION_FORM_PAPER;
  for (const auto& key : service.keys()) definition.keys.push_back(parse_key(key));
  definition.announce = service.announce() != v1::ANNOUNCE_NONE;
  definition.owner = owner;
  definition.ramp = std::chrono::seconds(service.slow_start().ramp_seconds());
  definition.orca = to_orca(service.load_signal());
  definition.min_healthy_percent = service.min_healthy_percent();
  definition.when_below =
      service.when_below() == v1::WHEN_BELOW_NONE ? WhenBelow::None : WhenBelow::All;
  if (service.has_max_expiry_percent()) {
    definition.max_expiry_percent = service.max_expiry_percent();
  }
  return definition;
}

std::pair<std::string, PolicyInstance::Parameters> to_definition(const v1::Policy& policy) {
  PolicyInstance::Parameters parameters(policy.parameters().begin(), policy.parameters().end());
  std::sort(parameters.begin(), parameters.end());
  return {policy.name().empty() ? kDefaultPolicy : policy.name(), std::move(parameters)};
}

BackendDefinition to_definition(const v1::Backend& backend, Owner owner) {
  return {.address = *IpAddress::parse(backend.address()),
          .port = static_cast<std::uint16_t>(backend.port()),
          .weight = backend.has_weight() ? backend.weight() : 1,
          .owner = owner,
          .lease = backend.lease_id()};
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
  if (service.ramp.count() > 0) {
    message.mutable_slow_start()->set_ramp_seconds(
        static_cast<std::uint32_t>(service.ramp.count()));
  }
  auto* signal = message.mutable_load_signal();
  signal->set_source(service.orca ? v1::LoadSignal::SOURCE_ORCA : v1::LoadSignal::SOURCE_AGENT);
  if (service.orca) {
    signal->set_metric(service.orca->metric);
    signal->set_port(service.orca->port);
    signal->set_interval_ms(static_cast<std::uint32_t>(service.orca->interval.count()));
  }
  message.set_min_healthy_percent(service.min_healthy_percent);
  if (service.min_healthy_percent > 0) {
    message.set_when_below(service.when_below == WhenBelow::None ? v1::WHEN_BELOW_NONE
                                                                 : v1::WHEN_BELOW_ALL);
  }
  message.set_max_expiry_percent(service.max_expiry_percent);
  return message;
}

v1::Service to_message(const ServiceRecord& service) {
  v1::Service message = to_message(service.definition);
  message.set_etag(to_etag(service.version));
  return message;
}

v1::Service to_stored_message(const ServiceDefinition& service) {
  v1::Service message = to_message(service);
  message.set_when_below(service.when_below == WhenBelow::None ? v1::WHEN_BELOW_NONE
                                                               : v1::WHEN_BELOW_ALL);
  for (const auto& key : service.keys) {
    message.add_keys(fmt::format("{:02x}", fmt::join(key, "")));
  }
  return message;
}

v1::Backend to_message(const std::string& id, const BackendDefinition& backend) {
  v1::Backend message;
  message.set_id(id);
  message.set_address(backend.address.to_string());
  message.set_port(backend.port);
  message.set_weight(backend.weight);
  message.set_owner(to_message(backend.owner));
  message.set_lease_id(backend.lease);
  return message;
}

v1::Backend to_event_message(const View& view, const ServiceRecord& service, const std::string& id,
                             const BackendRecord& backend) {
  v1::Backend message = to_message(id, backend.definition);
  message.set_etag(to_etag(backend.version));
  auto* status = message.mutable_status();
  const BackendStatus& published = view.status_of(service, id);
  status->set_state(to_message(published.health));
  status->set_reason(published.reason);
  *status->mutable_since() = to_timestamp(published.since);
  status->set_eligible(view.is_eligible(service, backend));
  const auto info = view.next_hops.find(backend.definition.address);
  if (info != view.next_hops.end() && info->second.state.next_hop) {
    status->set_next_hop_mac(to_string(info->second.state.next_hop->destination));
  }
  status->set_weight_percent(view.tenths_of_weight(service, backend) * 100 / kRampSteps);
  const Administration& is = backend.administration;
  if (is.state != Admin::Draining && is.state != Admin::Drained) return message;
  auto* drain = status->mutable_drain();
  drain->set_drained_by(to_message(is.drained_by));
  drain->set_deregistered(is.removes);
  if (is.state == Admin::Draining) *drain->mutable_deadline() = to_timestamp(is.until.wall);
  if (is.state == Admin::Drained && is.removes) {
    *drain->mutable_gone_at() = to_timestamp(is.until.wall);
  }
  return message;
}

v1::Backend to_message(const NodeState& node, const ServiceRecord& service, const std::string& id,
                       const BackendRecord& backend) {
  v1::Backend message = to_event_message(node.view, service, id, backend);
  auto* status = message.mutable_status();
  const BackendLoad& load = node.loads.backend(*backend.load_slot);
  const Health health = node.view.status_of(service, id).health;
  if (health == Health::Unhealthy && load.silent && load.report_age) {
    const std::chrono::duration<double> age = *load.report_age;
    *status->mutable_reason() += fmt::format(" for {:.1f} s", age.count());
  } else if (health == Health::Draining) {
    // ORCA's numbers are no connections.
    const bool counts =
        load.load.source != CRAB_LOAD_ASSIGNED && !load.silent && !service.definition.orca;
    *status->mutable_reason() += counts
                                     ? fmt::format("; {} connections open, {} on their way",
                                                   load.load.open, load.load.unconfirmed)
                                     : "; no report of open connections: only the deadline ends it";
  }
  status->set_assigned_connections(count_assigned(node.dataplane, backend));
  *status->mutable_load() = to_message(load);
  return message;
}

v1::ListServicesResponse list_services(const View& view) {
  v1::ListServicesResponse response;
  for (const auto& [name, record] : view.services) {
    *response.add_services() = to_message(*record);
  }
  response.set_revision(view.revision);
  return response;
}

v1::ListBackendsResponse list_backends(const NodeState& node, const ServiceRecord& service) {
  v1::ListBackendsResponse response;
  for (const auto& [id, backend] : service.backends) {
    *response.add_backends() = to_message(node, service, id, backend);
  }
  response.set_revision(node.view.revision);
  return response;
}

v1::ListBackendsResponse list_backends(const NodeState& node, const ServiceRecord& service,
                                       const std::string& after, std::size_t size) {
  v1::ListBackendsResponse response;
  auto at = after.empty() ? service.backends.begin() : service.backends.upper_bound(after);
  for (std::size_t i = 0; i < size && at != service.backends.end(); ++i, ++at) {
    *response.add_backends() = to_message(node, service, at->first, at->second);
  }
  if (at != service.backends.end() && response.backends_size() > 0) {
    response.set_next_page_token(response.backends(response.backends_size() - 1).id());
  }
  response.set_revision(node.view.revision);
  return response;
}

v1::ListPoliciesResponse list_policies() {
  v1::ListPoliciesResponse response;
  for (const KnownPolicy& known : known_policies()) {
    const crab_policy_ops& ops = *known.ops;
    auto* policy = response.add_policies();
    policy->set_name(ops.name);
    policy->set_description(ops.description);
    policy->set_plugin(known.path);
    policy->set_uses_load((ops.flags & CRAB_POLICY_USES_LOAD) != 0);
    for (std::size_t i = 0; i < ops.n_params; ++i) {
      auto* parameter = policy->add_parameters();
      parameter->set_name(ops.params[i].name);
      parameter->set_description(ops.params[i].description);
    }
  }
  for (const RefusedPlugin& plugin : refused_plugins()) {
    auto* rejected = response.add_rejected();
    rejected->set_path(plugin.path);
    rejected->set_reason(plugin.reason);
  }
  return response;
}

v1::GetStatsResponse get_stats(const NodeState& node, const ReportCounters& reports) {
  v1::GetStatsResponse response;
  WorkerTotals all;
  for (unsigned w = 0; w < node.dataplane.n_workers(); ++w) {
    const WorkerTotals totals = node.dataplane.counters(w).read();
    all += totals;
    auto* worker = response.add_workers();
    worker->set_worker(w);
    worker->set_received_packets(totals.n_rx_packets);
    worker->set_redirected_packets(totals.verdict(Verdict::Redirected));
    worker->set_bursts(totals.n_bursts);
    worker->set_empty_polls(totals.n_empty_polls);
  }
  *response.mutable_datapath() = to_message(all, node.dataplane.edge_totals());
  for (const auto& [name, record] : node.view.services) {
    *response.add_services() = stats_of(node, *record);
  }
  *response.mutable_load_reports() = to_message(reports);
  response.set_revision(node.view.revision);
  return response;
}

}  // namespace crab
