// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/appliances.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "control/identity/channel.h"
#include "kernel_patch/agent/host_addresses.h"
#include "kernel_patch/agent/session_status.h"
#include "lb/monotonic_clock.h"

namespace crab {
namespace {

constexpr std::size_t kMaxAddresses = 4096;  // of crab.v1.AttachRequest

std::vector<IpAddress> claimable_addresses() {
  std::vector<IpAddress> addresses = host_addresses();
  if (addresses.size() > kMaxAddresses) addresses.resize(kMaxAddresses);
  return addresses;
}

AgentError wrong(const char* field, const std::string& why) {
  return AgentError(fmt::format("{}: {}", field, why));
}

std::vector<SocketAddress> backends_of(const v1::AttachResponse& response) {
  std::vector<SocketAddress> backends;
  for (const v1::ReportedBackend& backend : response.backends()) {
    const auto address = IpAddress::parse(backend.address());
    if (!address || address->is_unusable() || backend.port() == 0 || backend.port() > 65535) {
      throw wrong("backends", fmt::format("'{}' port {}", backend.address(), backend.port()));
    }
    backends.push_back({*address, static_cast<std::uint16_t>(backend.port())});
  }
  return backends;
}

}  // namespace

std::optional<SessionTerms> session_terms_of(const v1::AttachResponse& response) {
  if (response.report_address().empty()) return std::nullopt;
  SessionTerms terms;
  const auto report_to = SocketAddress::parse(response.report_address());
  if (!report_to) throw wrong("report_address", response.report_address());
  if (response.node() == 0 || response.node() > 255) {
    throw wrong("node", std::to_string(response.node()));
  }
  if (response.session_key().size() != terms.key.size()) {
    throw wrong("session_key", fmt::format("{} bytes", response.session_key().size()));
  }
  if (response.heartbeat_interval_us() == 0 ||
      response.heartbeat_interval_us() > kMaxReportIntervalUs) {
    throw wrong("heartbeat_interval_us", std::to_string(response.heartbeat_interval_us()));
  }
  terms.node = static_cast<std::uint8_t>(response.node());
  terms.report_to = *report_to;
  terms.session = response.session();
  terms.nonce = response.nonce();
  std::memcpy(terms.key.data(), response.session_key().data(), terms.key.size());
  terms.heartbeat_interval = std::chrono::microseconds(response.heartbeat_interval_us());
  terms.coalescing_interval = std::chrono::microseconds(response.coalescing_interval_us());
  terms.report_accepts = response.report_accepts();
  terms.backends = backends_of(response);
  return terms;
}

Appliances::Appliances(const std::vector<std::string>& servers, const TlsClientOptions& tls,
                       const std::string& agent, const SharedMap<crab_session>& statuses,
                       LoadReporter* reporter)
    : servers_(servers),
      agent_(agent),
      statuses_(statuses),
      reporter_(reporter),
      changed_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      addresses_(claimable_addresses()),
      configs_(servers.size()) {
  if (!changed_fd_)
    throw AgentError(fmt::format("eventfd: {}", std::generic_category().message(errno)));
  for (std::size_t i = 0; i < servers_.size(); ++i) {
    set_text(statuses_[i].appliance, servers_[i]);
    statuses_[i].state = CRAB_SESSION_ATTACHING;
  }
  quieten_grpc();
  show_presence();
  for (std::size_t i = 0; i < servers_.size(); ++i) {
    streams_.push_back(std::make_unique<NodeStream>(
        servers_[i], tls, request(),
        NodeHandlers{
            .on_response = [this, i](const v1::AttachResponse& r) { on_response(i, r); },
            .on_end = [this, i](const std::string& why) { on_end(i, why); },
        }));
  }
}

Appliances::~Appliances() {
  streams_.clear();
  for (std::size_t i = 0; i < servers_.size(); ++i) statuses_[i].state = CRAB_SESSION_ENDED;
}

v1::AttachRequest Appliances::request() const {
  v1::AttachRequest request;
  request.set_agent(agent_);
  for (const IpAddress& address : addresses_) request.add_addresses(address.to_string());
  return request;
}

void Appliances::follow_addresses() {
  std::vector<IpAddress> now = claimable_addresses();
  if (now == addresses_) return;
  addresses_ = std::move(now);
  spdlog::info("the host's addresses have changed; attaching anew");
  for (const auto& stream : streams_) stream->set_request(request());
}

void Appliances::show_presence() const {
  for (std::size_t i = 0; i < servers_.size(); ++i) statuses_[i].seen_ns = monotonic_ns();
}

void Appliances::on_response(std::size_t appliance, const v1::AttachResponse& response) {
  crab_session& status = statuses_[appliance];
  try {
    EndpointConfig config = endpoint_config_of(response);
    const std::optional<SessionTerms> terms = session_terms_of(response);
    if (reporter_ != nullptr && terms) {
      reporter_->begin(appliance, *terms);
    } else if (reporter_ != nullptr) {
      reporter_->end(appliance);
    }
    const std::lock_guard lock(mutex_);
    configs_[appliance] = std::move(config);
  } catch (const AgentError& error) {
    spdlog::error("{} says what cannot be: {}", servers_[appliance], error.what());
    set_text(status.last_error, error.what());
    return;
  }
  if (status.state != CRAB_SESSION_ATTACHED) {
    spdlog::info("attached to node {} at {}", response.node(), servers_[appliance]);
    add_to(&status.n_attached, 1);
  }
  set_text(status.report_address, response.report_address());
  status.node = response.node();
  status.state = CRAB_SESSION_ATTACHED;
  eventfd_write(changed_fd_.get(), 1);
}

void Appliances::on_end(std::size_t appliance, const std::string& why) {
  crab_session& status = statuses_[appliance];
  if (reporter_ != nullptr) reporter_->end(appliance);
  // Once for each session, and not for each attempt to come back.
  if (status.state != CRAB_SESSION_ENDED) {
    spdlog::warn("not attached to {}: {}; trying again", servers_[appliance], why);
  }
  add_to(&status.n_attach_failures, 1);
  set_text(status.last_error, why);
  status.state = CRAB_SESSION_ENDED;
}

std::optional<EndpointConfig> Appliances::take_config() {
  eventfd_t n = 0;
  if (eventfd_read(changed_fd_.get(), &n) != 0) return std::nullopt;
  const std::lock_guard lock(mutex_);
  std::vector<EndpointConfig> known;
  for (const auto& config : configs_) {
    if (config) known.push_back(*config);
  }
  return merged(known);
}

}  // namespace crab
