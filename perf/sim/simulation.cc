// SPDX-License-Identifier: Apache-2.0
// The simulation's clock and everything that the product does not bring itself: clients, delays,
// losses, servers.
#include <algorithm>
#include <deque>
#include <numeric>
#include <queue>
#include <stdexcept>

#include "perf/sim/agent.h"
#include "perf/sim/node.h"
#include "perf/sim/scenario.h"

namespace crab::sim {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

// How often a node's control thread looks at every backend (policy.h, update: at least every
// 100 ms), and for silent ones and ramps.
constexpr Time kUpdateInterval = milliseconds(50);
constexpr Time kLongestRefreshInterval = milliseconds(10);
constexpr Time kStart = std::chrono::seconds(1);  // clocks do not start at zero

enum class Kind : std::uint8_t {
  Arrival,      // a client's SYN comes to a node
  Accept,       // and to its server
  Served,       // the first request of a server's queue is done
  Close,        // a connection that was held open ends
  EventReport,  // an agent sends what has changed
  Heartbeat,    // or everything
  ReportArrival,
  Update,
  Refresh,
  Incident,
};

struct Event {
  Time at;
  std::uint64_t order;  // of creation: what happens at the same time happens in this order
  Kind kind;
  std::uint32_t subject;  // server, agent, message, node or incident

  bool operator<(const Event& other) const {  // std::priority_queue has the greatest on top
    return at != other.at ? at > other.at : order > other.order;
  }
};

struct Request {
  Time arrived;
  Time service;  // on a server of speed 1
  std::uint32_t server;
  unsigned node;
};

struct Server {
  std::deque<Time> arrivals;  // of the requests in service and waiting, at their nodes
  Time free_at{};             // when the last of them will be done
  double speed = 1;
  bool is_crashed = false;
  bool fails_fast = false;
  std::uint64_t n_assigned = 0;  // since the first incident
};

struct Message {
  unsigned node;
  Records records;
};

Time scaled(Time mean, double factor) {
  return Time(static_cast<Time::rep>(static_cast<double>(mean.count()) * factor));
}

class Simulation {
 public:
  explicit Simulation(const Scenario& scenario);
  Result run();

 private:
  void schedule(Time at, Kind kind, std::uint32_t subject = 0) {
    events_.push({at, n_events_++, kind, subject});
  }
  void handle(const Event& event);
  void schedule_arrival();
  void arrive();
  void accept();
  void finish(std::uint32_t server);
  void close(std::uint32_t server);
  void tell(std::uint32_t server, bool is_accept);
  void send_report(std::uint32_t agent, bool is_heartbeat);
  void deliver(unsigned node, const Records& records);
  void happen(const Incident& incident);
  void start_incidents_and_agents();
  // FIFO servers: those that have come would not notice others after them.
  bool is_over() const { return n_arrived_ == scenario_.n_requests && n_outstanding_ == 0; }
  std::uint32_t agent_of(std::uint32_t server) const {
    return server / scenario_.reports.backends_per_agent;
  }
  Result result();

  const Scenario& scenario_;
  RandomStream arrivals_, work_, network_, hashes_;
  std::priority_queue<Event> events_;
  std::uint64_t n_events_ = 0;
  Time now_ = kStart;
  double mean_gap_ns_ = 0;
  double next_arrival_ns_ = 0;  // a sum of gaps that are not rounded each
  Time refresh_interval_{};
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<Server> servers_;
  std::vector<Agent> agents_;
  std::deque<Request> syns_;  // on their way: the delay is the same for all
  std::vector<Message> messages_;
  std::vector<std::uint32_t> free_messages_;
  std::uint64_t n_arrived_ = 0;
  std::uint64_t n_outstanding_ = 0;  // sent to a server and not yet served or lost
  Time measured_from_ = Time::max();
  std::optional<std::uint32_t> first_victim_;
  std::uint64_t n_since_incident_ = 0;
  std::vector<Time> latencies_;
  Result result_;
};

void check(const Scenario& s) {
  const auto refuse = [](const char* why) { throw std::invalid_argument(why); };
  if (s.n_servers == 0 || s.n_nodes == 0 || s.n_requests == 0 || s.speeds.empty()) {
    refuse("servers, nodes, requests and speeds: at least one");
  }
  if (std::find(s.speeds.begin(), s.speeds.end(), 0) != s.speeds.end()) refuse("a speed is zero");
  if (!(s.load > 0)) refuse("load: must be positive");
  if (s.mean_service <= Time{}) refuse("mean service time: must be positive");
  if (s.reports.interval <= Time{}) refuse("report interval: must be positive");
  if (s.reports.backends_per_agent == 0) refuse("backends per agent: at least one");
  for (const auto& incident : s.incidents) {
    if (incident.server >= s.n_servers) refuse("incident: there is no such server");
    if (s.reports.backends_per_agent > 1 && incident.kind == Incident::Kind::Crash) {
      refuse("incident: a crash takes an agent with several backends along");
    }
  }
}

Simulation::Simulation(const Scenario& scenario)
    : scenario_(scenario),
      arrivals_(scenario.seed, 1),
      work_(scenario.seed, 2),
      network_(scenario.other_seed, 3),
      hashes_(scenario.other_seed, 4),
      servers_(scenario.n_servers) {
  check(scenario);
  std::vector<std::uint32_t> members;
  double capacity = 0;
  for (std::uint32_t i = 0; i < scenario.n_servers; ++i) {
    servers_[i].speed = scenario.speeds[i % scenario.speeds.size()];
    const auto joins_later = [i](const Incident& incident) {
      return incident.server == i && incident.kind == Incident::Kind::Join;
    };
    if (std::any_of(scenario.incidents.begin(), scenario.incidents.end(), joins_later)) continue;
    members.push_back(i);
    capacity += servers_[i].speed;
  }
  if (members.empty()) throw std::invalid_argument("no server is a backend at the start");
  mean_gap_ns_ = static_cast<double>(scenario.mean_service.count()) / (scenario.load * capacity);
  for (unsigned i = 0; i < scenario.n_nodes; ++i) {
    nodes_.push_back(std::make_unique<Node>(scenario));
    nodes_.back()->join(members, now_);
  }
  const unsigned per_agent = scenario.reports.backends_per_agent;
  for (std::uint32_t first = 0; first < scenario.n_servers; first += per_agent) {
    agents_.emplace_back(scenario, first, std::min(per_agent, scenario.n_servers - first));
  }
  latencies_.reserve(scenario.n_requests);
  refresh_interval_ = std::min(kLongestRefreshInterval, scenario.reports.interval);
  start_incidents_and_agents();
}

void Simulation::start_incidents_and_agents() {
  schedule_arrival();
  schedule(now_ + kUpdateInterval, Kind::Update);
  schedule(now_ + refresh_interval_, Kind::Refresh);
  for (std::uint32_t i = 0; i < scenario_.incidents.size(); ++i) {
    schedule(kStart + scenario_.incidents[i].at, Kind::Incident, i);
  }
  if (scenario_.reports.mode == ReportMode::None) return;
  for (std::uint32_t i = 0; i < agents_.size(); ++i) {
    schedule(now_ + scaled(scenario_.reports.interval, network_.uniform()), Kind::Heartbeat, i);
  }
}

Result Simulation::run() {
  while (!is_over()) {
    const Event event = events_.top();
    events_.pop();
    now_ = event.at;
    handle(event);
  }
  return result();
}

void Simulation::handle(const Event& event) {
  switch (event.kind) {
    case Kind::Arrival:
      return arrive();
    case Kind::Accept:
      return accept();
    case Kind::Served:
      return finish(event.subject);
    case Kind::Close:
      return close(event.subject);
    case Kind::EventReport:
      return send_report(event.subject, false);
    case Kind::Heartbeat:
      schedule(now_ + scenario_.reports.interval, Kind::Heartbeat, event.subject);
      return send_report(event.subject, true);
    case Kind::ReportArrival:
      deliver(messages_[event.subject].node, messages_[event.subject].records);
      return free_messages_.push_back(event.subject);
    case Kind::Update:
      for (const auto& node : nodes_) node->update_all(now_);
      return schedule(now_ + kUpdateInterval, Kind::Update);
    case Kind::Refresh:
      for (const auto& node : nodes_) node->refresh(now_);
      return schedule(now_ + refresh_interval_, Kind::Refresh);
    case Kind::Incident:
      return happen(scenario_.incidents[event.subject]);
  }
}

void Simulation::schedule_arrival() {
  next_arrival_ns_ += arrivals_.exponential(mean_gap_ns_);
  schedule(kStart + Time(static_cast<Time::rep>(next_arrival_ns_)), Kind::Arrival);
}

void Simulation::arrive() {
  const double n_warm_up = scenario_.warm_up_share * static_cast<double>(scenario_.n_requests);
  if (measured_from_ == Time::max() && static_cast<double>(n_arrived_) >= n_warm_up &&
      (first_victim_ || scenario_.incidents.empty())) {
    measured_from_ = now_;
  }
  ++n_arrived_;
  const unsigned node = scenario_.n_nodes == 1 ? 0 : network_.below(scenario_.n_nodes);
  const Time service = scaled(scenario_.mean_service, draw_service(scenario_.service, work_));
  const std::uint32_t server =
      nodes_[node]->place({.hash = hashes_.next(), .tuple_hash = hashes_.next()});
  if (n_arrived_ < scenario_.n_requests) schedule_arrival();
  if (first_victim_) {
    ++n_since_incident_;
    ++servers_[server].n_assigned;
  }
  if (network_.happens(scenario_.syn_loss)) {
    ++result_.n_syns_lost;
    return;
  }
  ++n_outstanding_;
  syns_.push_back({now_, service, server, node});
  schedule(now_ + scenario_.network_delay, Kind::Accept);
}

void Simulation::accept() {
  const Request request = syns_.front();
  syns_.pop_front();
  Server& server = servers_[request.server];
  if (server.is_crashed) {
    ++result_.n_lost_to_crash;
    --n_outstanding_;
    return;
  }
  const Time service = server.fails_fast ? scenario_.mean_service / 100 : request.service;
  server.free_at = std::max(server.free_at, now_) + scaled(service, 1 / server.speed);
  server.arrivals.push_back(request.arrived);
  schedule(server.free_at, Kind::Served, request.server);
  agents_[agent_of(request.server)].count_accept(request.server, request.node);
  tell(request.server, true);
}

void Simulation::finish(std::uint32_t server) {
  Server& state = servers_[server];
  if (state.is_crashed) return;
  const Time arrived = state.arrivals.front();
  state.arrivals.pop_front();
  --n_outstanding_;
  if (arrived >= measured_from_) latencies_.push_back(now_ - arrived);
  if (scenario_.hold == Time{}) return close(server);
  schedule(now_ + scenario_.hold, Kind::Close, server);
}

void Simulation::close(std::uint32_t server) {
  if (servers_[server].is_crashed) return;
  agents_[agent_of(server)].count_close(server);
  tell(server, false);
}

// Of an accept or a close.
void Simulation::tell(std::uint32_t server, bool is_accept) {
  const Reports& reports = scenario_.reports;
  Agent& agent = agents_[agent_of(server)];
  if (reports.mode == ReportMode::Ideal) {
    send_report(agent_of(server), false);
  } else if (reports.mode == ReportMode::Event && (!is_accept || reports.accepts)) {
    if (const auto at = agent.schedule_report(now_)) {
      schedule(*at, Kind::EventReport, agent_of(server));
    }
  }
}

void Simulation::send_report(std::uint32_t agent, bool is_heartbeat) {
  if (servers_[agent * scenario_.reports.backends_per_agent].is_crashed) return;
  agents_[agent].report(now_, is_heartbeat, [this](unsigned node, Records records) {
    if (network_.happens(scenario_.reports.loss)) return;
    if (scenario_.reports.mode == ReportMode::Ideal) return deliver(node, records);
    if (free_messages_.empty()) {
      free_messages_.push_back(static_cast<std::uint32_t>(messages_.size()));
      messages_.emplace_back();
    }
    const std::uint32_t message = free_messages_.back();
    free_messages_.pop_back();
    messages_[message] = {node, std::move(records)};
    schedule(now_ + scenario_.reports.delay, Kind::ReportArrival, message);
  });
}

void Simulation::deliver(unsigned node, const Records& records) {
  for (const auto& [server, sample] : records) nodes_[node]->report(server, sample, now_);
}

void Simulation::happen(const Incident& incident) {
  if (!first_victim_) first_victim_ = incident.server;
  Server& server = servers_[incident.server];
  switch (incident.kind) {
    case Incident::Kind::Crash:
      server.is_crashed = true;
      result_.n_ended_by_crash += server.arrivals.size();
      n_outstanding_ -= server.arrivals.size();
      return;
    case Incident::Kind::AgentRestart:
      return agents_[agent_of(incident.server)].restart();
    case Incident::Kind::FailFast:
      server.fails_fast = true;
      return;
    case Incident::Kind::Join:
      for (const auto& node : nodes_) node->join({&incident.server, 1}, now_);
      return;
    case Incident::Kind::Leave:
      for (const auto& node : nodes_) node->leave(incident.server, now_);
      return;
  }
}

Milliseconds percentile(std::vector<Time>& latencies, double share) {
  const auto rank = static_cast<std::ptrdiff_t>(share * static_cast<double>(latencies.size()));
  const auto nth = latencies.begin() + std::min<std::ptrdiff_t>(rank, std::ssize(latencies) - 1);
  std::nth_element(latencies.begin(), nth, latencies.end());
  return *nth;
}

Result Simulation::result() {
  result_.n_events = n_events_;
  result_.n_measured = latencies_.size();
  if (!latencies_.empty()) {
    const Time sum = std::accumulate(latencies_.begin(), latencies_.end(), Time{});
    result_.mean = Milliseconds(sum) / static_cast<double>(latencies_.size());
    result_.p50 = percentile(latencies_, 0.5);
    result_.p99 = percentile(latencies_, 0.99);
    result_.p999 = percentile(latencies_, 0.999);
  }
  if (first_victim_ && n_since_incident_ > 0) {
    double weights = 0;
    for (const auto& server : servers_) weights += server.speed;
    const Server& victim = servers_[*first_victim_];
    result_.share = static_cast<double>(victim.n_assigned) /
                    static_cast<double>(n_since_incident_) * weights / victim.speed;
  }
  for (const auto& node : nodes_) {
    result_.n_rebuilds += node->n_rebuilds();
    for (std::uint32_t i = 0; i < scenario_.n_servers; ++i) {
      result_.n_written_off += node->table().n_written_off(i);
      result_.n_late += node->table().n_late(i);
      result_.n_unconfirmed += node->table().load(i).unconfirmed;
    }
  }
  result_.rule = nodes_.front()->rule();
  return std::move(result_);
}

}  // namespace

Result simulate(const Scenario& scenario) { return Simulation(scenario).run(); }

}  // namespace crab::sim
