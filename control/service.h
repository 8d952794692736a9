// SPDX-License-Identifier: Apache-2.0
// The gRPC services of crab.v1. Handlers run on gRPC's threads: reads are answered there from the
// published view, changes go through the manager's strand and are answered from it.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <unordered_set>
#include <vector>

#include "control/convert.h"
#include "control/manager.h"
#include "crab/v1/control.grpc.pb.h"

namespace crab {

class Gate;

// An rpc that is answered later: by the strand, or, if it comes first, by the end of the server.
class PendingCall {
 public:
  explicit PendingCall(grpc::ServerUnaryReactor* reactor) : reactor_(reactor) {}
  // True once: whoever gets it may touch the call's messages and has to finish it.
  bool claim() { return !claimed_.exchange(true); }
  // After claim(); the reactor and the messages are gone afterwards.
  void finish(const grpc::Status& status) { reactor_->Finish(status); }

 private:
  grpc::ServerUnaryReactor* reactor_;
  std::atomic<bool> claimed_{false};
};

// Those that are under way. Any thread.
class PendingCalls {
 public:
  // nullptr after end(), the call being answered then.
  std::shared_ptr<PendingCall> add(grpc::ServerUnaryReactor* reactor);
  void remove(const std::shared_ptr<PendingCall>& call);
  // Answers all with UNAVAILABLE, and every later one at once.
  void end();

 private:
  std::mutex mutex_;
  bool ended_ = false;
  std::unordered_set<std::shared_ptr<PendingCall>> calls_;
};

// What the three services share.
struct ServiceContext {
  std::shared_ptr<Manager> manager;
  const Dataplane& dataplane;
  PendingCalls calls{};
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
  // Whose call it is (control/identity/gate.h); set before the first one.
  const Gate* gate = nullptr;

  NodeState state(const View& view, const LoadView& loads) const {
    return {.view = view, .loads = loads, .dataplane = dataplane};
  }
};

class BackendServiceImpl final : public v1::BackendService::CallbackService {
 public:
  explicit BackendServiceImpl(std::shared_ptr<ServiceContext> context)
      : context_(std::move(context)) {}
  grpc::ServerUnaryReactor* RegisterBackends(grpc::CallbackServerContext* rpc,
                                             const v1::RegisterBackendsRequest* request,
                                             v1::RegisterBackendsResponse* response) override;
  grpc::ServerUnaryReactor* DeregisterBackends(grpc::CallbackServerContext* rpc,
                                               const v1::DeregisterBackendsRequest* request,
                                               v1::DeregisterBackendsResponse* response) override;
  grpc::ServerUnaryReactor* ListBackends(grpc::CallbackServerContext* rpc,
                                         const v1::ListBackendsRequest* request,
                                         v1::ListBackendsResponse* response) override;

 private:
  std::shared_ptr<ServiceContext> context_;
};

class ServiceAdminImpl final : public v1::ServiceAdmin::CallbackService {
 public:
  explicit ServiceAdminImpl(std::shared_ptr<ServiceContext> context)
      : context_(std::move(context)) {}
  grpc::ServerUnaryReactor* CreateService(grpc::CallbackServerContext* rpc,
                                          const v1::CreateServiceRequest* request,
                                          v1::CreateServiceResponse* response) override;
  grpc::ServerUnaryReactor* ListServices(grpc::CallbackServerContext* rpc,
                                         const v1::ListServicesRequest* request,
                                         v1::ListServicesResponse* response) override;
  grpc::ServerUnaryReactor* DeleteService(grpc::CallbackServerContext* rpc,
                                          const v1::DeleteServiceRequest* request,
                                          v1::DeleteServiceResponse* response) override;
  grpc::ServerUnaryReactor* SetPolicy(grpc::CallbackServerContext* rpc,
                                      const v1::SetPolicyRequest* request,
                                      v1::SetPolicyResponse* response) override;
  grpc::ServerUnaryReactor* ListPolicies(grpc::CallbackServerContext* rpc,
                                         const v1::ListPoliciesRequest* request,
                                         v1::ListPoliciesResponse* response) override;

 private:
  std::shared_ptr<ServiceContext> context_;
};

class StatsServiceImpl final : public v1::StatsService::CallbackService {
 public:
  explicit StatsServiceImpl(std::shared_ptr<ServiceContext> context)
      : context_(std::move(context)) {}
  grpc::ServerUnaryReactor* GetStats(grpc::CallbackServerContext* rpc,
                                     const v1::GetStatsRequest* request,
                                     v1::GetStatsResponse* response) override;

 private:
  std::shared_ptr<ServiceContext> context_;
};

}  // namespace crab
