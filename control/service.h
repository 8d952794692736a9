// SPDX-License-Identifier: Apache-2.0
// The gRPC services of crab.v1. Handlers run on gRPC's threads: reads are answered there from the
// published view, changes go through the manager's strand and are answered from it.
#pragma once

#include <memory>
#include <mutex>
#include <unordered_set>

#include "control/answer_now.h"
#include "control/service_context.h"
#include "crab/v1/control.grpc.pb.h"

namespace crab {

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
  grpc::ServerUnaryReactor* ReplaceBackends(grpc::CallbackServerContext* rpc,
                                            const v1::ReplaceBackendsRequest* request,
                                            v1::ReplaceBackendsResponse* response) override;
  grpc::ServerUnaryReactor* DrainBackends(grpc::CallbackServerContext* rpc,
                                          const v1::DrainBackendsRequest* request,
                                          v1::DrainBackendsResponse* response) override;
  grpc::ServerUnaryReactor* UpdateBackend(grpc::CallbackServerContext* rpc,
                                          const v1::UpdateBackendRequest* request,
                                          v1::UpdateBackendResponse* response) override;
  grpc::ServerUnaryReactor* GetBackend(grpc::CallbackServerContext* rpc,
                                       const v1::GetBackendRequest* request,
                                       v1::GetBackendResponse* response) override;
  grpc::ServerUnaryReactor* ListBackends(grpc::CallbackServerContext* rpc,
                                         const v1::ListBackendsRequest* request,
                                         v1::ListBackendsResponse* response) override;
  grpc::ServerWriteReactor<v1::WatchBackendsResponse>* WatchBackends(
      grpc::CallbackServerContext* rpc, const v1::WatchBackendsRequest* request) override;

 private:
  std::shared_ptr<ServiceContext> context_;
};

class KeepAliveStream;

class LeaseServiceImpl final : public v1::LeaseService::CallbackService {
 public:
  explicit LeaseServiceImpl(std::shared_ptr<ServiceContext> context)
      : context_(std::move(context)) {}
  grpc::ServerUnaryReactor* GrantLease(grpc::CallbackServerContext* rpc,
                                       const v1::GrantLeaseRequest* request,
                                       v1::GrantLeaseResponse* response) override;
  grpc::ServerBidiReactor<v1::KeepAliveRequest, v1::KeepAliveResponse>* KeepAlive(
      grpc::CallbackServerContext* rpc) override;
  grpc::ServerUnaryReactor* RevokeLease(grpc::CallbackServerContext* rpc,
                                        const v1::RevokeLeaseRequest* request,
                                        v1::RevokeLeaseResponse* response) override;
  grpc::ServerUnaryReactor* ListLeases(grpc::CallbackServerContext* rpc,
                                       const v1::ListLeasesRequest* request,
                                       v1::ListLeasesResponse* response) override;
  // Ends all streams, and every later one at once, with UNAVAILABLE. Once the strand runs no more.
  void end();

 private:
  friend class KeepAliveStream;
  std::shared_ptr<ServiceContext> context_;
  std::mutex mutex_;
  bool ended_ = false;                                            // guarded by mutex_
  std::unordered_set<std::shared_ptr<KeepAliveStream>> streams_;  // guarded by mutex_: all alive
};

class ServiceAdminImpl final : public v1::ServiceAdmin::CallbackService {
 public:
  explicit ServiceAdminImpl(std::shared_ptr<ServiceContext> context)
      : context_(std::move(context)) {}
  grpc::ServerUnaryReactor* CreateService(grpc::CallbackServerContext* rpc,
                                          const v1::CreateServiceRequest* request,
                                          v1::CreateServiceResponse* response) override;
  grpc::ServerUnaryReactor* UpdateService(grpc::CallbackServerContext* rpc,
                                          const v1::UpdateServiceRequest* request,
                                          v1::UpdateServiceResponse* response) override;
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
  grpc::ServerUnaryReactor* SetMaintenance(grpc::CallbackServerContext* rpc,
                                           const v1::SetMaintenanceRequest* request,
                                           v1::SetMaintenanceResponse* response) override;
  grpc::ServerUnaryReactor* ReleaseFreeze(grpc::CallbackServerContext* rpc,
                                          const v1::ReleaseFreezeRequest* request,
                                          v1::ReleaseFreezeResponse* response) override;

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
  grpc::ServerUnaryReactor* Explain(grpc::CallbackServerContext* rpc,
                                    const v1::ExplainRequest* request,
                                    v1::ExplainResponse* response) override;

 private:
  std::shared_ptr<ServiceContext> context_;
};

// What the services share.
inline constexpr std::uint32_t kMaxPage = 1'000;
std::size_t page_size(std::uint32_t asked);
// Appends those of the ids that there are, as they are now.
template <typename Ids, typename Response>
void add_backends(const ServiceContext& context, const View& view, const std::string& name,
                  const Ids& ids, Response* response) {
  const ServiceRecord* service = view.find(name);
  if (service == nullptr) return;
  const auto loads = context.manager->loads();
  for (const std::string& id : ids) {
    const auto found = service->backends.find(id);
    if (found == service->backends.end()) continue;
    *response->add_backends() =
        to_message(context.state(view, *loads), *service, id, found->second);
  }
}

}  // namespace crab
