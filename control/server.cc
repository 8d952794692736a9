// SPDX-License-Identifier: Apache-2.0
#include "control/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <stdexcept>
#include <string>

#include "control/listener.h"
#include "control/metrics.h"
#include "control/service.h"

namespace crab {
namespace {

constexpr int kMaxRequestBytes = 4 << 20;  // a batch of 1,000 backends takes some 0.4 MiB
constexpr std::chrono::seconds kShutdownGrace{1};

}  // namespace

class ControlServer::Impl {
 public:
  Impl(const v1::Config& config, Dataplane& dataplane, boost::asio::io_context& io)
      : config_(config),
        dataplane_(dataplane),
        manager_(Manager::make(io, dataplane, static_cast<std::uint8_t>(config.node()))),
        context_(new ServiceContext{manager_, dataplane}),
        backends_(context_),
        admin_(context_),
        stats_(context_) {}

  void start();
  void stop();

 private:
  void listen();
  void set_serving(bool serving);

  const v1::Config config_;
  Dataplane& dataplane_;
  std::shared_ptr<Manager> manager_;
  std::shared_ptr<ServiceContext> context_;
  BackendServiceImpl backends_;
  ServiceAdminImpl admin_;
  StatsServiceImpl stats_;
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<grpc::Server> server_;
};

void ControlServer::Impl::start() {
  manager_->on_serving([this](bool serving) { set_serving(serving); });
  manager_->start(config_);
  if (!config_.metrics().listen().empty()) {
    metrics_ = std::make_unique<Metrics>(config_.metrics().listen(), manager_, dataplane_);
  }
  listen();
  set_serving(true);
}

void ControlServer::Impl::listen() {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
  for (const auto& listener : config_.control().listen()) {
    prepare_socket(listener);
    builder.AddListeningPort(listener, grpc::InsecureServerCredentials());
  }
  builder.RegisterService(&backends_);
  builder.RegisterService(&admin_);
  builder.RegisterService(&stats_);
  {
    const SocketUmask umask;
    server_ = builder.BuildAndStart();
  }
  if (!server_) {
    std::string listeners;
    for (const auto& listener : config_.control().listen()) listeners += " " + listener;
    throw std::runtime_error("control API: cannot listen on" + listeners +
                             "; may this user write there?");
  }
  for (const auto& listener : config_.control().listen()) restrict_socket(listener);
}

// Of the node as a whole (the empty name) and of each of the API's services.
void ControlServer::Impl::set_serving(bool serving) {
  if (!server_) return;
  auto* health = server_->GetHealthCheckService();
  for (const char* name :
       {"", v1::BackendService::service_full_name(), v1::ServiceAdmin::service_full_name(),
        v1::StatsService::service_full_name()}) {
    health->SetServingStatus(name, serving);
  }
}

void ControlServer::Impl::stop() {
  manager_->stop();
  context_->calls.end();
  metrics_.reset();
  if (!server_) return;
  // Whatever is still open after the grace, such as a Watch of the health service, is cancelled.
  server_->Shutdown(std::chrono::system_clock::now() + kShutdownGrace);
  server_->Wait();
  server_.reset();
}

ControlServer::ControlServer(const v1::Config& config, Dataplane& dataplane,
                             boost::asio::io_context& io)
    : impl_(std::make_unique<Impl>(config, dataplane, io)) {}

ControlServer::~ControlServer() { impl_->stop(); }

void ControlServer::start() { impl_->start(); }
void ControlServer::stop() { impl_->stop(); }

}  // namespace crab
