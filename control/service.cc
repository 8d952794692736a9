// SPDX-License-Identifier: Apache-2.0
#include "control/service.h"

#include "control/convert.h"
#include "control/errors.h"

namespace crab {
namespace {

Failure shutting_down() {
  return {FailureCode::Unavailable,
          "SHUTTING_DOWN",
          "crab-lb is ending; whether the change was made is not known",
          {},
          {}};
}

grpc::ServerUnaryReactor* answer_now(grpc::CallbackServerContext* rpc, const grpc::Status& status) {
  auto* reactor = rpc->DefaultReactor();
  reactor->Finish(status);
  return reactor;
}

// Hands a change to the strand. `fill` writes the response once the change is in force; it runs
// only while the call's messages are alive.
template <typename Fill>
grpc::ServerUnaryReactor* answer_later(ServiceContext& context, grpc::CallbackServerContext* rpc,
                                       Manager::Change change, Fill fill) {
  auto* reactor = rpc->DefaultReactor();
  const auto call = context.calls.add(reactor);
  if (!call) return reactor;
  context.manager->submit(std::move(change), [&calls = context.calls, call, fill](
                                                 const auto& failure, const Manager::Reply& reply) {
    if (!call->claim()) return;
    calls.remove(call);
    if (!failure) fill(reply);
    call->finish(failure ? to_status(*failure) : grpc::Status::OK);
  });
  return reactor;
}

}  // namespace

std::shared_ptr<PendingCall> PendingCalls::add(grpc::ServerUnaryReactor* reactor) {
  auto call = std::make_shared<PendingCall>(reactor);
  const std::scoped_lock lock(mutex_);
  if (ended_) {
    reactor->Finish(to_status(shutting_down()));
    return nullptr;
  }
  calls_.insert(call);
  return call;
}

void PendingCalls::remove(const std::shared_ptr<PendingCall>& call) {
  const std::scoped_lock lock(mutex_);
  calls_.erase(call);
}

void PendingCalls::end() {
  const std::scoped_lock lock(mutex_);
  ended_ = true;
  for (const auto& call : calls_) {
    if (call->claim()) call->finish(to_status(shutting_down()));
  }
  calls_.clear();
}

grpc::ServerUnaryReactor* BackendServiceImpl::RegisterBackends(
    grpc::CallbackServerContext* rpc, const v1::RegisterBackendsRequest* request,
    v1::RegisterBackendsResponse* response) {
  auto change = [request = *request](DesiredState& state, ChangeEffect* effect) {
    return state.register_backends(request.service(), request.backends(), Owner::Api, effect);
  };
  return answer_later(
      *context_, rpc, change, [request, response, context = context_](const Manager::Reply& reply) {
        const ServiceRecord* service = reply.view->find(request->service());
        const auto loads = context->manager->loads();
        for (const auto& asked : request->backends()) {
          auto* backend = response->add_backends();
          *backend = to_message(asked.id(), to_definition(asked, Owner::Api));
          // Another call may have removed it meanwhile: then without a status.
          if (service == nullptr) continue;
          const auto found = service->backends.find(asked.id());
          if (found == service->backends.end()) continue;
          *backend =
              to_message(context->state(*reply.view, *loads), *service, asked.id(), found->second);
        }
        response->set_revision(reply.view->revision);
      });
}

grpc::ServerUnaryReactor* BackendServiceImpl::DeregisterBackends(
    grpc::CallbackServerContext* rpc, const v1::DeregisterBackendsRequest* request,
    v1::DeregisterBackendsResponse* response) {
  auto change = [request = *request](DesiredState& state, ChangeEffect* effect) {
    return state.deregister_backends(request.service(),
                                     {request.ids().begin(), request.ids().end()}, effect);
  };
  return answer_later(*context_, rpc, change, [response](const Manager::Reply& reply) {
    for (const auto& id : reply.removed_ids) response->add_removed_ids(id);
    response->set_revision(reply.view->revision);
  });
}

grpc::ServerUnaryReactor* BackendServiceImpl::ListBackends(grpc::CallbackServerContext* rpc,
                                                           const v1::ListBackendsRequest* request,
                                                           v1::ListBackendsResponse* response) {
  if (auto errors = validate_service_name(request->service(), "service"); !errors.empty()) {
    return answer_now(rpc, to_status(invalid_fields(std::move(errors))));
  }
  const auto view = context_->manager->view();
  const ServiceRecord* service = view->find(request->service());
  if (service == nullptr) return answer_now(rpc, to_status(service_not_found(request->service())));
  const auto loads = context_->manager->loads();
  *response = list_backends(context_->state(*view, *loads), *service);
  return answer_now(rpc, grpc::Status::OK);
}

grpc::ServerUnaryReactor* ServiceAdminImpl::CreateService(grpc::CallbackServerContext* rpc,
                                                          const v1::CreateServiceRequest* request,
                                                          v1::CreateServiceResponse* response) {
  auto change = [request = *request](DesiredState& state, ChangeEffect* effect) {
    return state.create_service(request.service(), Owner::Api, effect);
  };
  return answer_later(*context_, rpc, change,
                      [request, response, context = context_](const Manager::Reply& reply) {
                        auto* created = response->mutable_service();
                        *created = to_message(to_definition(request->service(), Owner::Api));
                        response->set_revision(reply.view->revision);
                        const auto* service = reply.view->find(request->service().name());
                        if (service == nullptr) return;  // another call has deleted it meanwhile
                        const auto loads = context->manager->loads();
                        auto listed = list_backends(context->state(*reply.view, *loads), *service);
                        created->mutable_backends()->Swap(listed.mutable_backends());
                      });
}

grpc::ServerUnaryReactor* ServiceAdminImpl::ListServices(grpc::CallbackServerContext* rpc,
                                                         const v1::ListServicesRequest*,
                                                         v1::ListServicesResponse* response) {
  *response = list_services(*context_->manager->view());
  return answer_now(rpc, grpc::Status::OK);
}

grpc::ServerUnaryReactor* ServiceAdminImpl::DeleteService(grpc::CallbackServerContext* rpc,
                                                          const v1::DeleteServiceRequest* request,
                                                          v1::DeleteServiceResponse* response) {
  auto change = [request = *request](DesiredState& state, ChangeEffect* effect) {
    return state.delete_service(request.name(), Owner::Api, effect);
  };
  return answer_later(*context_, rpc, change, [response](const Manager::Reply& reply) {
    response->set_revision(reply.view->revision);
  });
}

grpc::ServerUnaryReactor* ServiceAdminImpl::SetPolicy(grpc::CallbackServerContext* rpc,
                                                      const v1::SetPolicyRequest* request,
                                                      v1::SetPolicyResponse* response) {
  auto change = [request = *request](DesiredState& state, ChangeEffect* effect) {
    return state.set_policy(request.service(), request.policy(), effect);
  };
  return answer_later(*context_, rpc, change, [request, response](const Manager::Reply& reply) {
    // Without fields if another call has deleted it meanwhile.
    if (const auto* service = reply.view->find(request->service())) {
      *response->mutable_service() = to_message(service->definition);
    }
    response->set_revision(reply.view->revision);
  });
}

grpc::ServerUnaryReactor* ServiceAdminImpl::ListPolicies(grpc::CallbackServerContext* rpc,
                                                         const v1::ListPoliciesRequest*,
                                                         v1::ListPoliciesResponse* response) {
  *response = list_policies();
  return answer_now(rpc, grpc::Status::OK);
}

grpc::ServerUnaryReactor* StatsServiceImpl::GetStats(grpc::CallbackServerContext* rpc,
                                                     const v1::GetStatsRequest*,
                                                     v1::GetStatsResponse* response) {
  const auto view = context_->manager->view();
  const auto loads = context_->manager->loads();
  const Manager& manager = *context_->manager;
  *response = get_stats(context_->state(*view, *loads), manager.report_counters());
  const std::chrono::duration<double> uptime = std::chrono::steady_clock::now() - context_->started;
  response->set_uptime_seconds(uptime.count());
  return answer_now(rpc, grpc::Status::OK);
}

}  // namespace crab
