// SPDX-License-Identifier: Apache-2.0
#include "control/metrics.h"

#include <prometheus/collectable.h>
#include <prometheus/exposer.h>
#include <prometheus/metric_family.h>

#include <array>
#include <exception>
#include <stdexcept>
#include <utility>
#include <vector>

#include "control/convert.h"
#include "control/version.h"

namespace crab {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

class Family {
 public:
  Family(const char* name, const char* help, MetricType type) {
    family_.name = name;
    family_.help = help;
    family_.type = type;
  }
  // Doubles are what Prometheus has: exact up to 2^53.
  template <typename Number>
  Family& add(Labels labels, Number value) {
    ClientMetric metric;
    metric.label = std::move(labels);
    const auto number = static_cast<double>(value);
    if (family_.type == MetricType::Counter) metric.counter.value = number;
    if (family_.type == MetricType::Gauge) metric.gauge.value = number;
    family_.metric.push_back(std::move(metric));
    return *this;
  }
  MetricFamily take() { return std::move(family_); }

 private:
  MetricFamily family_;
};

Family counter(const char* name, const char* help) { return {name, help, MetricType::Counter}; }
Family gauge(const char* name, const char* help) { return {name, help, MetricType::Gauge}; }

using Families = std::vector<MetricFamily>;

void collect_workers(const Dataplane& dataplane, Families* out) {
  auto received = counter("crab_packets_received_total", "Packets received, by worker.");
  auto bytes = counter("crab_bytes_received_total", "Bytes of frames received, by worker.");
  auto verdicts =
      counter("crab_packets_total",
              "Packets by worker, verdict and its class; their sum is what was received.");
  auto recalled = counter("crab_recall_retransmissions_total",
                          "Retransmitted SYNs sent where the first one went.");
  auto stale = counter("crab_recall_stale_total",
                       "Retransmitted SYNs chosen anew, their backend being no longer eligible.");
  auto evicted = counter("crab_recall_evicted_young_total",
                         "Recent-SYN entries pushed out before 3 s: the table is too small.");
  auto host = counter("crab_host_to_wire_packets_total", "Linux's packets sent out by workers.");
  auto host_drops =
      counter("crab_host_to_wire_drops_total", "Linux's packets that the port did not take.");
  auto bursts = counter("crab_bursts_total", "Bursts that held packets.");
  auto empty = counter("crab_empty_polls_total", "Polls that found nothing.");
  for (unsigned w = 0; w < dataplane.n_workers(); ++w) {
    const WorkerTotals totals = dataplane.counters(w).read();
    const ClientMetric::Label worker{"worker", std::to_string(w)};
    received.add({worker}, totals.n_rx_packets);
    bytes.add({worker}, totals.n_rx_bytes);
    for (std::size_t i = 0; i < kVerdictCount; ++i) {
      const auto verdict = static_cast<Verdict>(i);
      verdicts.add({worker,
                    {"verdict", std::string(name_of(verdict))},
                    {"class", std::string(name_of(class_of(verdict)))}},
                   totals.verdict(verdict));
    }
    recalled.add({worker}, totals.n_recalled);
    stale.add({worker}, totals.n_recall_stale);
    evicted.add({worker}, totals.n_recall_evicted);
    host.add({worker}, totals.n_host_to_wire);
    host_drops.add({worker}, totals.n_host_to_wire_drops);
    bursts.add({worker}, totals.n_bursts);
    empty.add({worker}, totals.n_empty_polls);
  }
  for (auto* family : {&received, &bytes, &verdicts, &recalled, &stale, &evicted, &host,
                       &host_drops, &bursts, &empty}) {
    out->push_back(family->take());
  }
}

void collect_edges(const Dataplane& dataplane, Families* out) {
  const EdgeTotals edge = dataplane.edge_totals();
  const auto add = [out](const char* name, const char* help, std::uint64_t value) {
    out->push_back(counter(name, help).add({}, value).take());
  };
  add("crab_packets_missed_total", "Packets that the ports lost before a worker received them.",
      edge.n_missed);
  add("crab_to_linux_packets_total", "Packets written to host interfaces.", edge.n_to_linux);
  add("crab_to_linux_drops_total", "Packets that a host interface refused.", edge.n_to_linux_drops);
  add("crab_from_linux_packets_total", "Packets taken from host interfaces.", edge.n_from_linux);
  add("crab_from_linux_drops_total",
      "Packets of Linux's lost on the way to a worker: no buffer, no room, or too long.",
      edge.n_from_linux_drops);
}

void collect_services(const View& view, const Dataplane& dataplane, Families* out) {
  auto assigned = counter("crab_service_assigned_connections_total",
                          "Connections given to a backend, by service.");
  auto refused = counter("crab_service_refused_packets_total",
                         "SYNs to the service that were not redirected.");
  auto backends = gauge("crab_service_backends", "Registered backends.");
  auto eligible = gauge("crab_service_eligible_backends", "Backends that get new connections.");
  auto by_backend = counter(
      "crab_backend_assigned_connections_total",
      "Connections given to the backend's address and port, whichever service they came by.");
  auto up = gauge("crab_backend_eligible", "Whether the backend gets new connections.");
  for (const auto& [name, record] : view.services) {
    const ClientMetric::Label service{"service", name};
    assigned.add({service}, count_assigned(dataplane, *record));
    refused.add({service}, count_refused(dataplane, *record));
    backends.add({service}, record->backends.size());
    eligible.add({service}, view.count_eligible(*record));
    for (const auto& [id, backend] : record->backends) {
      const Labels labels{service, {"backend", id}};
      by_backend.add(labels, count_assigned(dataplane, backend));
      up.add(labels, view.is_eligible(*record, backend) ? 1 : 0);
    }
  }
  for (auto* family : {&assigned, &refused, &backends, &eligible, &by_backend, &up}) {
    out->push_back(family->take());
  }
}

void collect_loads(const View& view, const LoadView& loads, Families* out) {
  auto rule = gauge("crab_service_policy_rule", "1 for the policy and its rule in force.");
  auto backends = gauge("crab_service_backends_by_report",
                        "Backends that report their load, have stopped to, or never did.");
  auto suspected = gauge("crab_service_report_path_suspected",
                         "1: most backends stopped reporting at once; all are balanced to.");
  auto age = gauge("crab_service_oldest_report_age_seconds",
                   "Age of the oldest among the backends' newest reports.");
  auto unconfirmed = gauge("crab_service_unconfirmed_connections",
                           "Assigned, and not reported as accepted yet, by reporting backends.");
  auto lost = counter("crab_service_written_off_connections_total",
                      "Assigned, never accepted, and written off, by the backends there are.");
  auto skew = gauge("crab_service_load_skew",
                    "Greatest load per weight among eligible backends, less the mean.");
  auto regret = gauge("crab_service_load_regret",
                      "Load per weight of the backends chosen in the last second, less the least.");
  auto open = gauge("crab_backend_open_connections", "As last reported, or its load signal.");
  auto on_way = gauge("crab_backend_unconfirmed_connections", "Assigned and not yet accepted.");
  for (const auto& [name, record] : view.services) {
    const ClientMetric::Label service{"service", name};
    const ServiceLoad& load = loads.service(name);
    rule.add({service, {"policy", record->definition.policy}, {"rule", load.rule}}, 1);
    backends.add({service, {"state", "reporting"}}, load.n_reporting);
    backends.add({service, {"state", "silent"}}, load.n_silent);
    backends.add({service, {"state", "unreported"}}, load.n_unreported);
    suspected.add({service}, load.path_suspected ? 1 : 0);
    if (load.oldest_age) {
      age.add({service}, std::chrono::duration<double>(*load.oldest_age).count());
    }
    unconfirmed.add({service}, load.n_unconfirmed);
    lost.add({service}, load.n_written_off);
    skew.add({service}, load.skew);
    regret.add({service}, load.regret);
    for (const auto& [id, backend] : record->backends) {
      const auto& known = loads.backend(*backend.load_slot).load;
      if (known.source == CRAB_LOAD_ASSIGNED) continue;
      open.add({service, {"backend", id}}, known.open);
      on_way.add({service, {"backend", id}}, known.unconfirmed);
    }
  }
  for (auto* family :
       {&rule, &backends, &suspected, &age, &unconfirmed, &lost, &skew, &regret, &open, &on_way}) {
    out->push_back(family->take());
  }
}

void collect_reports(const ReportCounters& reports, Families* out) {
  out->push_back(counter("crab_load_report_datagrams_total", "Received, good and bad.")
                     .add({}, reports.n_datagrams.load(std::memory_order_relaxed))
                     .take());
  out->push_back(counter("crab_load_report_records_total", "Taken: one for a backend and datagram.")
                     .add({}, reports.n_records.load(std::memory_order_relaxed))
                     .take());
  auto refused = counter("crab_load_report_refusals_total",
                         "Datagrams and records of load reports that were refused, by reason.");
  for (std::size_t i = 1; i < kNReportRefusals; ++i) {
    refused.add({{"reason", name_of_refusal(i)}},
                reports.n_refused[i].load(std::memory_order_relaxed));
  }
  out->push_back(refused.take());
  out->push_back(
      counter("crab_orca_reports_total", "ORCA reports, by whether they had the metric.")
          .add({{"result", "taken"}}, reports.n_orca_reports.load(std::memory_order_relaxed))
          .add({{"result", "unusable"}}, reports.n_orca_unusable.load(std::memory_order_relaxed))
          .take());
  out->push_back(counter("crab_orca_streams_ended_total", "That ended, or could not begin.")
                     .add({}, reports.n_orca_ended.load(std::memory_order_relaxed))
                     .take());
  out->push_back(gauge("crab_agents", "Agents attached.")
                     .add({}, reports.n_agents.load(std::memory_order_relaxed))
                     .take());
}

void collect_access(const v1::GetAccessResponse& access, Families* out) {
  auto accepted = counter("crab_control_connections_accepted_total", "By listener.");
  auto refused =
      counter("crab_control_connections_refused_total",
              "Connections that came to nothing, and, of fd_limit, pauses in accepting.");
  auto insecure = gauge("crab_control_insecure", "1: the listener takes anybody, unencrypted.");
  for (const auto& listener : access.listeners()) {
    const ClientMetric::Label label{"listener", listener.address()};
    accepted.add({label}, listener.accepted_connections());
    insecure.add({label}, listener.security() == v1::ControlListener::SECURITY_INSECURE ? 1 : 0);
    for (const auto& one : listener.refused()) {
      refused.add({label, {"reason", one.reason()}}, one.connections());
    }
  }
  auto denied = counter("crab_control_calls_denied_total", "Calls that roles forbid.");
  for (const auto& one : access.denied()) {
    denied.add({{"method", one.method()}, {"reason", one.reason()}}, one.calls());
  }
  for (auto* family : {&accepted, &refused, &insecure, &denied}) out->push_back(family->take());
  if (!access.has_certificate()) return;
  const auto& certificate = access.certificate();
  out->push_back(gauge("crab_control_certificate_not_after_seconds",
                       "When the first certificate of the file expires, in seconds since 1970.")
                     .add({{"file", "certificate"}}, certificate.not_after_unix_seconds())
                     .add({{"file", "client_ca"}}, certificate.client_ca_not_after_unix_seconds())
                     .take());
  out->push_back(counter("crab_control_certificate_reloads_total",
                         "Times that changed files were put in force, or refused.")
                     .add({{"result", "applied"}}, certificate.reloads())
                     .add({{"result", "refused"}}, certificate.failed_reloads())
                     .take());
}

MetricFamily publish_latency(const PublishStats& stats) {
  MetricFamily family;
  family.name = "crab_publish_duration_seconds";
  family.help = "From building a snapshot until every worker uses it.";
  family.type = MetricType::Histogram;
  ClientMetric metric;
  auto& histogram = metric.histogram;
  for (std::size_t i = 0; i < stats.n_by_latency.size(); ++i) {
    histogram.sample_count += stats.n_by_latency[i];
    if (i == PublishStats::kBoundsSeconds.size()) break;  // +Inf is the serializer's
    histogram.bucket.push_back({histogram.sample_count, PublishStats::kBoundsSeconds[i]});
  }
  histogram.sample_sum = stats.sum_seconds;
  family.metric.push_back(std::move(metric));
  return family;
}

void collect_lifecycle(const View& view, Families* out) {
  auto states = gauge("crab_service_backends_by_state", "Registered backends, by state.");
  auto below = gauge("crab_service_below_minimum",
                     "1: fewer backends are healthy than the service's minimum.");
  auto frozen = gauge("crab_service_leases_frozen",
                      "1: so many leases would run out at once that none does.");
  constexpr std::array<const char*, 6> kStates = {"initial",  "healthy", "unhealthy",
                                                  "draining", "drained", "maintenance"};
  for (const auto& [name, record] : view.services) {
    const ClientMetric::Label service{"service", name};
    std::array<std::size_t, kStates.size()> n{};
    for (const auto& [id, backend] : record->backends) {
      ++n[static_cast<std::size_t>(view.status_of(*record, id).health)];
    }
    for (std::size_t i = 0; i < n.size(); ++i) states.add({service, {"state", kStates[i]}}, n[i]);
    below.add({service}, view.below_minimum.contains(name) ? 1 : 0);
    frozen.add({service}, view.frozen.contains(name) ? 1 : 0);
  }
  for (auto* family : {&states, &below, &frozen}) out->push_back(family->take());
}

void collect_control(const ControlCounters& counters, Families* out) {
  out->push_back(gauge("crab_watch_streams", "WatchBackends streams open.")
                     .add({}, counters.n_watch_streams.load())
                     .take());
  out->push_back(counter("crab_watch_slow_consumers_total",
                         "WatchBackends streams ended because their client did not read.")
                     .add({}, counters.n_slow_watchers.load())
                     .take());
  out->push_back(counter("crab_repeated_requests_total",
                         "Requests answered from memory, their request_id having been seen.")
                     .add({}, counters.n_repeated_requests.load())
                     .take());
  out->push_back(counter("crab_drains_total", "Drains that have ended, by what ended them.")
                     .add({{"by", "zero_connections"}}, counters.n_drained_by_zero.load())
                     .add({{"by", "deadline"}}, counters.n_drained_by_deadline.load())
                     .take());
  out->push_back(
      gauge("crab_leases", "Leases there are.").add({}, counters.n_leases.load()).take());
  out->push_back(counter("crab_leases_expired_total", "Leases that have run out.")
                     .add({}, counters.n_expired_leases.load())
                     .take());
}

class Collector : public prometheus::Collectable {
 public:
  Collector(std::shared_ptr<const Manager> manager, const Dataplane& dataplane,
            DescribeAccess access)
      : manager_(std::move(manager)), dataplane_(dataplane), access_(std::move(access)) {}

  Families Collect() const override {
    Families families;
    const auto view = manager_->view();
    const PublishStats stats = manager_->publish_stats();
    collect_workers(dataplane_, &families);
    collect_edges(dataplane_, &families);
    collect_services(*view, dataplane_, &families);
    collect_loads(*view, *manager_->loads(), &families);
    collect_reports(manager_->report_counters(), &families);
    if (access_) collect_access(access_(), &families);
    collect_lifecycle(*view, &families);
    collect_control(manager_->counters(), &families);
    families.push_back(counter("crab_publishes_total", "Snapshots published, by result.")
                           .add({{"result", "applied"}}, stats.n_applied)
                           .add({{"result", "stuck"}}, stats.n_stuck)
                           .add({{"result", "failed"}}, stats.n_failed)
                           .take());
    families.push_back(publish_latency(stats));
    families.push_back(
        gauge("crab_revision", "Revision of the published state.").add({}, view->revision).take());
    families.push_back(
        gauge("crab_build_info", "1, with the version.").add({{"version", kVersion}}, 1).take());
    return families;
  }

 private:
  const std::shared_ptr<const Manager> manager_;
  const Dataplane& dataplane_;
  const DescribeAccess access_;
};

}  // namespace

std::shared_ptr<prometheus::Collectable> make_collector(std::shared_ptr<const Manager> manager,
                                                        const Dataplane& dataplane,
                                                        DescribeAccess access) {
  return std::make_shared<Collector>(std::move(manager), dataplane, std::move(access));
}

Metrics::Metrics(const std::string& listen, std::shared_ptr<const Manager> manager,
                 const Dataplane& dataplane, DescribeAccess access)
    : collector_(make_collector(std::move(manager), dataplane, std::move(access))) {
  try {
    exposer_ = std::make_unique<prometheus::Exposer>(listen, 1);
  } catch (const std::exception& e) {
    throw std::runtime_error("metrics.listen " + listen + ": cannot listen: " + e.what());
  }
  exposer_->RegisterCollectable(collector_);
}

Metrics::~Metrics() = default;

}  // namespace crab
