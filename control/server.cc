// SPDX-License-Identifier: Apache-2.0
#include "control/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_posix.h>

#include <stdexcept>
#include <string>

#include "control/agent_service.h"
#include "control/agent_sessions.h"
#include "control/guarded_services.h"
#include "control/identity/access_service.h"
#include "control/identity/entrance.h"
#include "control/load_receiver.h"
#include "control/metrics.h"
#include "control/orca_client.h"
#include "control/service.h"

namespace crab {
namespace {

constexpr int kMaxRequestBytes = 4 << 20;  // a batch of 1,000 backends takes some 0.4 MiB
constexpr std::chrono::seconds kShutdownGrace{1};

LoadTable::Settings load_settings(const v1::Config& config) {
  LoadTable::Settings settings;
  if (const auto silence = config.load_reports().min_silence_ms(); silence != 0) {
    settings.min_silence = std::chrono::milliseconds(silence);
  }
  return settings;
}

std::vector<SocketAddress> report_listeners(const v1::Config& config) {
  std::vector<SocketAddress> listeners;
  for (const auto& text : config.load_reports().listen()) {
    if (const auto address = SocketAddress::parse(text)) listeners.push_back(*address);
  }
  return listeners;  // of the word "none", none
}

// gRPC's reflection is a plugin of every server of the process.
class WithoutReflection final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    std::erase_if(*plugins,
                  [](const auto& plugin) { return plugin->name() == "proto_server_reflection"; });
  }
};

// The services as callers reach them.
struct GuardedServices {
  GuardedServices(v1::BackendService::CallbackService& inner_backends,
                  v1::LeaseService::CallbackService& inner_leases,
                  v1::ServiceAdmin::CallbackService& inner_admin,
                  v1::StatsService::CallbackService& inner_stats,
                  v1::AgentService::CallbackService& inner_agents, const Entrance& entrance)
      : inner_access(entrance),
        backends(inner_backends, entrance.gate()),
        leases(inner_leases, entrance.gate()),
        admin(inner_admin, entrance.gate()),
        stats(inner_stats, entrance.gate()),
        agents(inner_agents, entrance.gate()),
        access(inner_access, entrance.gate()) {}

  AccessServiceImpl inner_access;
  GuardedBackendService backends;
  GuardedLeaseService leases;
  GuardedServiceAdmin admin;
  GuardedStatsService stats;
  GuardedAgentService agents;
  GuardedAccessService access;
};

}  // namespace

class ControlServer::Impl {
 public:
  Impl(const v1::Config& config, Dataplane& dataplane, boost::asio::io_context& io)
      : config_(config),
        dataplane_(dataplane),
        manager_(Manager::make(io, dataplane, static_cast<std::uint8_t>(config.node()),
                               std::chrono::steady_clock::now, load_settings(config))),
        sessions_(static_cast<std::uint8_t>(config.node()), manager_->load_table(),
                  manager_->report_counters()),
        context_(new ServiceContext{manager_, dataplane}),
        backends_(context_),
        leases_(context_),
        admin_(context_),
        stats_(context_),
        agents_(manager_, sessions_, config, report_listeners(config)),
        orca_(manager_->strand(), manager_->report_counters(),
              [this](std::uint32_t slot, const LoadSample& sample) {
                manager_->load_table().report(slot, sample, manager_->now());
                manager_->reported({&slot, 1});
              }) {}

  void start();
  void stop();

 private:
  void serve();
  std::unique_ptr<grpc::Server> make_server(bool with_reflection);
  void receive_reports();
  void set_serving(bool serving);

  const v1::Config config_;
  Dataplane& dataplane_;
  std::shared_ptr<Manager> manager_;
  AgentSessions sessions_;
  std::shared_ptr<ServiceContext> context_;
  BackendServiceImpl backends_;
  LeaseServiceImpl leases_;
  ServiceAdminImpl admin_;
  StatsServiceImpl stats_;
  AgentServiceImpl agents_;
  OrcaClient orca_;
  std::unique_ptr<LoadReceiver> receiver_;
  std::vector<std::uint32_t> reported_slots_;  // of the round of reports being taken
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<Entrance> entrance_;
  std::unique_ptr<GuardedServices> guarded_;
  // gRPC's reflection asks no gate: callers who may not see it have a server without.
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<grpc::Server> server_without_reflection_;
};

void ControlServer::Impl::start() {
  manager_->on_serving([this](bool serving) { set_serving(serving); });
  manager_->on_published([this](const View& view) {
    sessions_.set_backends(view);
    agents_.published(view);
    context_->watches.published();
    orca_.follow(view);
  });
  manager_->before_tick([this] {
    if (receiver_) receiver_->drain();
  });
  manager_->start(config_);
  receive_reports();
  entrance_ = std::make_unique<Entrance>(config_.control());
  if (!config_.metrics().listen().empty()) {
    metrics_ = std::make_unique<Metrics>(config_.metrics().listen(), manager_, dataplane_,
                                         [this] { return entrance_->describe(); });
  }
  serve();
  set_serving(true);
}

void ControlServer::Impl::receive_reports() {
  const auto listeners = report_listeners(config_);
  if (listeners.empty()) return;
  receiver_ = std::make_unique<LoadReceiver>(
      manager_->strand(), listeners,
      [this](std::span<const std::uint8_t> datagram) {
        sessions_.receive(datagram, manager_->now(), &reported_slots_);
      },
      [this] {
        manager_->reported(reported_slots_);
        reported_slots_.clear();
      });
}

void ControlServer::Impl::serve() {
  guarded_ =
      std::make_unique<GuardedServices>(backends_, leases_, admin_, stats_, agents_, *entrance_);
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  server_ = make_server(true);
  server_without_reflection_ = make_server(false);
  entrance_->start([this](int fd, const Caller& caller) {
    const bool reflects = !entrance_->authorizer().check(caller, kReflection, std::nullopt);
    grpc::AddInsecureChannelFromFd(reflects ? server_.get() : server_without_reflection_.get(), fd);
  });
}

std::unique_ptr<grpc::Server> ControlServer::Impl::make_server(bool with_reflection) {
  grpc::ServerBuilder builder;
  if (!with_reflection) builder.SetOption(std::make_unique<WithoutReflection>());
  builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
  builder.RegisterService(&guarded_->backends);
  builder.RegisterService(&guarded_->leases);
  builder.RegisterService(&guarded_->admin);
  builder.RegisterService(&guarded_->stats);
  builder.RegisterService(&guarded_->agents);
  builder.RegisterService(&guarded_->access);
  auto server = builder.BuildAndStart();
  if (!server) throw std::runtime_error("control API: gRPC does not start");
  return server;
}

// Of the node as a whole (the empty name) and of each of the API's services.
void ControlServer::Impl::set_serving(bool serving) {
  for (auto* server : {server_.get(), server_without_reflection_.get()}) {
    if (server == nullptr) continue;
    auto* health = server->GetHealthCheckService();
    for (const char* name :
         {"", v1::BackendService::service_full_name(), v1::LeaseService::service_full_name(),
          v1::ServiceAdmin::service_full_name(), v1::StatsService::service_full_name(),
          v1::AgentService::service_full_name(), v1::AccessService::service_full_name()}) {
      health->SetServingStatus(name, serving);
    }
  }
}

void ControlServer::Impl::stop() {
  manager_->stop();
  context_->calls.end();
  context_->watches.end();
  leases_.end();
  agents_.end();
  orca_.end();
  receiver_.reset();
  metrics_.reset();
  if (!entrance_) return;
  entrance_->stop_accepting();
  // Whatever is still open after the grace, such as a Watch of the health service, is cancelled.
  // TLS connections pass on what is said meanwhile.
  const auto deadline = std::chrono::system_clock::now() + kShutdownGrace;
  for (auto* server : {&server_, &server_without_reflection_}) {
    if (*server) (*server)->Shutdown(deadline);
  }
  for (auto* server : {&server_, &server_without_reflection_}) {
    if (*server) (*server)->Wait();
    server->reset();
  }
  guarded_.reset();
  entrance_.reset();
}

ControlServer::ControlServer(const v1::Config& config, Dataplane& dataplane,
                             boost::asio::io_context& io)
    : impl_(std::make_unique<Impl>(config, dataplane, io)) {}

ControlServer::~ControlServer() { impl_->stop(); }

void ControlServer::start() { impl_->start(); }
void ControlServer::stop() { impl_->stop(); }

}  // namespace crab
