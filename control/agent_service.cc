// SPDX-License-Identifier: Apache-2.0
#include "control/agent_service.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <bit>
#include <boost/asio/post.hpp>
#include <set>
#include <utility>

#include "control/convert.h"
#include "control/errors.h"

namespace crab {
namespace {

constexpr int kMaxAgentAddresses = 4'096;
constexpr std::size_t kAgentsAtFullRate = 128;
constexpr std::uint32_t kMaxHeartbeatUs = 60'000'000;

Failure shutting_down() {
  return {FailureCode::Unavailable, "SHUTTING_DOWN", "crab-lb is ending", {}, {}};
}

FieldErrors validate(const v1::AttachRequest& request, std::vector<IpAddress>* addresses) {
  FieldErrors errors;
  // Shaped as a backend's id, but for the colon.
  if (!validate_backend_id(request.agent(), "agent").empty() ||
      request.agent().find(':') != std::string::npos) {
    errors.push_back({"agent", "must be 1 to 253 characters out of A-Z a-z 0-9 . _ -"});
  }
  if (request.addresses_size() > kMaxAgentAddresses) {
    errors.push_back({"addresses", "more than 4096 addresses"});
    return errors;
  }
  std::set<IpAddress> seen;
  for (int i = 0; i < request.addresses_size(); ++i) {
    const std::string& text = request.addresses(i);
    const auto field = indexed("addresses", i);
    const auto address = IpAddress::parse(text);
    if (!address || address->is_unusable()) {
      errors.push_back({field, "'" + text + "' is not an address that a host can have"});
    } else if (!seen.insert(*address).second) {
      errors.push_back({field, "the same address again"});
    } else {
      addresses->push_back(*address);
    }
  }
  return errors;
}

v1::Service offered(const ServiceDefinition& definition) {
  v1::Service service;
  service.set_name(definition.name);
  service.set_address(definition.address.to_string());
  service.set_port(definition.port);
  service.set_option_form(definition.paper ? v1::OPTION_FORM_PAPER : v1::OPTION_FORM_CRAB);
  for (const auto& key : definition.keys) {
    service.add_keys(fmt::format("{:02x}", fmt::join(key, "")));
  }
  return service;
}

}  // namespace

// One call. gRPC allows one write at a time: what comes meanwhile replaces what waits, because each
// message is complete in itself.
class AttachStream final : public grpc::ServerWriteReactor<v1::AttachResponse>,
                           public std::enable_shared_from_this<AttachStream> {
 public:
  AttachStream(AgentServiceImpl& service, std::string name, std::vector<IpAddress> claimed)
      : agent(std::move(name)), addresses(std::move(claimed)), service_(service) {}

  void send(const v1::AttachResponse& response) {
    const std::scoped_lock lock(mutex_);
    if (finishing_) return;
    waiting_ = response;
    if (!writing_) write();
  }
  void finish(const grpc::Status& status) {
    const std::scoped_lock lock(mutex_);
    if (std::exchange(finishing_, true)) return;
    waiting_.reset();
    status_ = status;
    if (!writing_) Finish(status_);
  }

  void OnWriteDone(bool ok) override {
    const std::scoped_lock lock(mutex_);
    writing_ = false;
    if (!ok && !std::exchange(finishing_, true)) status_ = grpc::Status::CANCELLED;
    if (finishing_) return Finish(status_);
    if (waiting_) write();
  }
  void OnCancel() override {
    leave();
    finish(grpc::Status::CANCELLED);
  }
  void OnDone() override {
    leave();
    const auto self = shared_from_this();  // until the end of this function
    const std::scoped_lock lock(service_.mutex_);
    service_.streams_.erase(self);
  }

  const std::string agent;
  const std::vector<IpAddress> addresses;
  std::uint64_t session = 0;  // strand
  bool left = false;          // strand

 private:
  void write() {
    writing_ = true;
    on_wire_ = std::move(*waiting_);
    waiting_.reset();
    StartWrite(&on_wire_);
  }
  void leave() {
    boost::asio::post(service_.manager_->strand(), [self = shared_from_this()] {
      self->left = true;
      self->service_.detach(self->session, self);
    });
  }

  AgentServiceImpl& service_;
  std::mutex mutex_;  // everything below
  std::optional<v1::AttachResponse> waiting_;
  v1::AttachResponse on_wire_;
  bool writing_ = false;
  bool finishing_ = false;
  grpc::Status status_;
};

AgentServiceImpl::AgentServiceImpl(std::shared_ptr<Manager> manager, AgentSessions& sessions,
                                   const v1::Config& config,
                                   std::vector<SocketAddress> report_addresses)
    : manager_(std::move(manager)),
      sessions_(sessions),
      config_(config),
      report_addresses_(std::move(report_addresses)) {}

grpc::ServerWriteReactor<v1::AttachResponse>* AgentServiceImpl::Attach(
    grpc::CallbackServerContext*, const v1::AttachRequest* request) {
  std::vector<IpAddress> addresses;
  auto errors = validate(*request, &addresses);
  const auto stream = std::make_shared<AttachStream>(*this, request->agent(), std::move(addresses));
  bool ended = false;
  {
    const std::scoped_lock lock(mutex_);
    streams_.insert(stream);
    ended = ended_;
  }
  if (!errors.empty()) {
    stream->finish(to_status(invalid_fields(std::move(errors))));
  } else if (ended) {
    stream->finish(to_status(shutting_down()));
  } else {
    boost::asio::post(manager_->strand(), [this, stream] { attach(stream); });
  }
  return stream.get();
}

void AgentServiceImpl::attach(const std::shared_ptr<AttachStream>& stream) {
  if (stream->left) return;
  const auto before = session_of_.find(stream->agent);
  if (before != session_of_.end()) {
    const auto old = attached_.at(before->second).stream;
    detach(before->second, old);
    old->finish({grpc::StatusCode::ABORTED, "an agent of the same name has attached"});
  }
  const auto session = sessions_.attach(stream->addresses);
  if (!session) {
    return stream->finish(to_status(
        {FailureCode::ResourceExhausted, "AGENT_LIMIT", "4096 agents are attached", {}, {}}));
  }
  spdlog::info("agent '{}' attached", stream->agent);
  stream->session = session->id;
  session_of_[stream->agent] = session->id;
  Attached& attached = attached_[session->id];
  attached.stream = stream;
  auto& fixed = attached.fixed;
  fixed.set_node(config_.node());
  fixed.set_report_address(report_address(stream->addresses));
  fixed.set_session(session->id);
  fixed.set_session_key(session->key.data(), session->key.size());
  fixed.set_nonce(sessions_.nonce());
  fixed.set_coalescing_interval_us(config_.load_reports().coalescing_us());
  fixed.set_report_accepts(config_.load_reports().several_nodes());
  *fixed.mutable_allowed_prefixes() = config_.agent().allowed_prefixes();
  // Another agent may mean another heartbeat, for all.
  if (heartbeat_us() == told_heartbeat_us_) return tell(&attached);
  told_heartbeat_us_ = heartbeat_us();
  for (auto& [id, one] : attached_) tell(&one);
}

void AgentServiceImpl::detach(std::uint64_t session, const std::shared_ptr<AttachStream>& stream) {
  const auto found = attached_.find(session);
  if (found == attached_.end() || found->second.stream != stream) return;
  spdlog::info("agent '{}' detached", stream->agent);
  sessions_.detach(session);
  session_of_.erase(stream->agent);
  attached_.erase(found);
}

void AgentServiceImpl::published(const View& view) {
  take_services(view);
  for (auto& [session, attached] : attached_) tell(&attached);
}

void AgentServiceImpl::take_services(const View& view) {
  const std::string before = services_.SerializeAsString();
  services_.Clear();
  ports_at_.clear();
  for (const auto& [name, service] : view.services) {
    *services_.add_services() = offered(service->definition);
    if (service->definition.orca) continue;
    for (const auto& [id, backend] : service->backends) {
      ports_at_[backend.definition.address].push_back(backend.definition.port);
    }
  }
  for (auto& [address, ports] : ports_at_) {
    std::sort(ports.begin(), ports.end());
    ports.erase(std::unique(ports.begin(), ports.end()), ports.end());
  }
  if (services_.SerializeAsString() != before) ++services_version_;
}

std::vector<Endpoint> AgentServiceImpl::backends_at(const std::vector<IpAddress>& addresses) const {
  std::vector<Endpoint> backends;
  for (const auto& address : addresses) {
    const auto found = ports_at_.find(address);
    if (found == ports_at_.end()) continue;
    for (const std::uint16_t port : found->second) backends.emplace_back(address, port);
  }
  return backends;
}

// Sends if anything is new.
void AgentServiceImpl::tell(Attached* attached) const {
  auto backends = backends_at(attached->stream->addresses);
  if (attached->services_version == services_version_ && attached->heartbeat_us == heartbeat_us() &&
      attached->backends == backends) {
    return;
  }
  attached->services_version = services_version_;
  attached->heartbeat_us = heartbeat_us();
  attached->backends = std::move(backends);
  v1::AttachResponse response = attached->fixed;
  response.MergeFrom(services_);
  response.set_heartbeat_interval_us(attached->heartbeat_us);
  for (const auto& [address, port] : attached->backends) {
    auto* backend = response.add_backends();
    backend->set_address(address.to_string());
    backend->set_port(port);
  }
  attached->stream->send(response);
}

// Whatever the fleet's size, the strand gets some 13,000 heartbeats a second at most.
std::uint32_t AgentServiceImpl::heartbeat_us() const {
  const std::size_t n = (sessions_.size() + kAgentsAtFullRate - 1) / kAgentsAtFullRate;
  const auto factor = static_cast<std::uint32_t>(std::bit_ceil(std::max<std::size_t>(n, 1)));
  return std::min(config_.load_reports().heartbeat_ms() * 1'000 * factor, kMaxHeartbeatUs);
}

// The first of a family that the agent's host has, or else the first.
std::string AgentServiceImpl::report_address(const std::vector<IpAddress>& addresses) const {
  if (report_addresses_.empty()) return "";
  for (const auto& listener : report_addresses_) {
    const auto same = [&](const auto& address) {
      return address.family == listener.address.family;
    };
    if (std::any_of(addresses.begin(), addresses.end(), same)) return listener.to_string();
  }
  return report_addresses_.front().to_string();
}

void AgentServiceImpl::end() {
  std::vector<std::shared_ptr<AttachStream>> streams;
  {
    const std::scoped_lock lock(mutex_);
    ended_ = true;
    streams.assign(streams_.begin(), streams_.end());
  }
  for (const auto& stream : streams) stream->finish(to_status(shutting_down()));
}

}  // namespace crab
