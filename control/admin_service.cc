// SPDX-License-Identifier: Apache-2.0
// ServiceAdmin.
#include "control/change_call.h"
#include "control/service.h"

namespace crab {

grpc::ServerUnaryReactor* ServiceAdminImpl::CreateService(grpc::CallbackServerContext* rpc,
                                                          const v1::CreateServiceRequest* request,
                                                          v1::CreateServiceResponse* response) {
  auto change = [request = *request](DesiredState& state, ChangeEffect* effect) {
    return state.create_service(request.service(), Owner::Api, effect);
  };
  return answer_change(*context_, rpc, *request, response, change,
                       [request = *request, context = context_](const Manager::Reply& reply,
                                                                v1::CreateServiceResponse* answer) {
                         auto* created = answer->mutable_service();
                         *created = to_message(to_definition(request.service(), Owner::Api));
                         answer->set_revision(reply.revision);
                         const auto* service = reply.view->find(request.service().name());
                         if (service == nullptr)
                           return;  // not in force yet, or another call has deleted it
                         *created = to_message(*service);
                         const auto loads = context->manager->loads();
                         auto listed = list_backends(context->state(*reply.view, *loads), *service);
                         created->mutable_backends()->Swap(listed.mutable_backends());
                       });
}

grpc::ServerUnaryReactor* ServiceAdminImpl::UpdateService(grpc::CallbackServerContext* rpc,
                                                          const v1::UpdateServiceRequest* request,
                                                          v1::UpdateServiceResponse* response) {
  auto change = [request = *request](DesiredState& state, ChangeEffect* effect) {
    return state.update_service(request.service(), request.update_mask(), effect);
  };
  return answer_change(*context_, rpc, *request, response, change,
                       [name = request->service().name()](const Manager::Reply& reply,
                                                          v1::UpdateServiceResponse* answer) {
                         const auto* service = reply.view->find(name);
                         if (service != nullptr && reply.in_force)
                           *answer->mutable_service() = to_message(*service);
                         answer->set_revision(reply.revision);
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
    return state.delete_service(request.name(), Owner::Api, effect, request.etag());
  };
  return answer_change(*context_, rpc, *request, response, change,
                       [](const Manager::Reply& reply, v1::DeleteServiceResponse* answer) {
                         answer->set_revision(reply.revision);
                       });
}

grpc::ServerUnaryReactor* ServiceAdminImpl::SetPolicy(grpc::CallbackServerContext* rpc,
                                                      const v1::SetPolicyRequest* request,
                                                      v1::SetPolicyResponse* response) {
  auto change = [request = *request](DesiredState& state, ChangeEffect* effect) {
    return state.set_policy(request.service(), request.policy(), effect);
  };
  return answer_change(
      *context_, rpc, *request, response, change,
      [name = request->service()](const Manager::Reply& reply, v1::SetPolicyResponse* answer) {
        // Without fields if another call has deleted it meanwhile.
        const auto* service = reply.view->find(name);
        if (service != nullptr && reply.in_force) *answer->mutable_service() = to_message(*service);
        answer->set_revision(reply.revision);
      });
}

grpc::ServerUnaryReactor* ServiceAdminImpl::ListPolicies(grpc::CallbackServerContext* rpc,
                                                         const v1::ListPoliciesRequest*,
                                                         v1::ListPoliciesResponse* response) {
  *response = list_policies();
  return answer_now(rpc, grpc::Status::OK);
}

grpc::ServerUnaryReactor* ServiceAdminImpl::SetMaintenance(grpc::CallbackServerContext* rpc,
                                                           const v1::SetMaintenanceRequest* request,
                                                           v1::SetMaintenanceResponse* response) {
  auto change = [request = *request](DesiredState& state, ChangeEffect* effect) {
    DrainOptions options;
    options.reason = request.reason();
    options.etags = {request.etags().begin(), request.etags().end()};
    return state.set_maintenance(request.service(), {request.ids().begin(), request.ids().end()},
                                 request.maintenance(), options, effect);
  };
  return answer_change(*context_, rpc, *request, response, change,
                       [request = *request, context = context_](
                           const Manager::Reply& reply, v1::SetMaintenanceResponse* answer) {
                         if (reply.in_force) {
                           add_backends(*context, *reply.view, request.service(), request.ids(),
                                        answer);
                         }
                         answer->set_revision(reply.revision);
                       });
}

grpc::ServerUnaryReactor* ServiceAdminImpl::ReleaseFreeze(grpc::CallbackServerContext* rpc,
                                                          const v1::ReleaseFreezeRequest* request,
                                                          v1::ReleaseFreezeResponse* response) {
  if (auto errors = validate_service_name(request->service(), "service"); !errors.empty()) {
    return answer_now(rpc, to_status(invalid_fields(std::move(errors))));
  }
  if (context_->manager->view()->find(request->service()) == nullptr) {
    return answer_now(rpc, to_status(service_not_found(request->service())));
  }
  auto* reactor = rpc->DefaultReactor();
  const auto call = context_->calls.add(reactor);
  if (!call) return reactor;
  context_->manager->release_freeze(
      request->service(), [context = context_, call, response](std::size_t n_leases) {
        context->calls.answer(call, grpc::Status::OK, [&] {
          response->set_expired_leases(static_cast<std::uint32_t>(n_leases));
        });
      });
  return reactor;
}

}  // namespace crab
