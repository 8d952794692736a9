// SPDX-License-Identifier: Apache-2.0
// BackendService.
#include "control/change_call.h"
#include "control/service.h"

namespace crab {
namespace {

template <typename Request>
DrainOptions drain_options(const Request& request) {
  DrainOptions options;
  if (request.has_drain_timeout_seconds()) {
    options.timeout = std::chrono::seconds(request.drain_timeout_seconds());
  }
  options.reason = request.reason();
  options.etags = {request.etags().begin(), request.etags().end()};
  return options;
}

template <typename Ids>
std::vector<std::string> to_vector(const Ids& ids) {
  return {ids.begin(), ids.end()};
}

}  // namespace

std::size_t page_size(std::uint32_t asked) {
  return asked == 0 ? kMaxPage : std::min(asked, kMaxPage);
}

FieldErrors validate_change(const std::string& request_id, v1::WaitFor wait_for) {
  constexpr std::size_t kMaxRequestId = 128;
  FieldErrors errors;
  const bool printable =
      std::all_of(request_id.begin(), request_id.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (request_id.size() > kMaxRequestId || !printable) {
    errors.push_back({"request_id", "must be at most 128 printable ASCII characters, no blanks"});
  }
  if (!v1::WaitFor_IsValid(wait_for)) {
    errors.push_back({"wait_for", "unknown value " + std::to_string(wait_for)});
  }
  return errors;
}

grpc::ServerUnaryReactor* BackendServiceImpl::RegisterBackends(
    grpc::CallbackServerContext* rpc, const v1::RegisterBackendsRequest* request,
    v1::RegisterBackendsResponse* response) {
  auto change = [request = *request](DesiredState& state, ChangeEffect* effect) {
    return state.register_backends(request.service(), request.backends(), Owner::Api, effect);
  };
  return answer_change(*context_, rpc, *request, response, change,
                       [request = *request, context = context_](
                           const Manager::Reply& reply, v1::RegisterBackendsResponse* answer) {
                         const ServiceRecord* service = reply.view->find(request.service());
                         const auto loads = context->manager->loads();
                         for (const auto& asked : request.backends()) {
                           auto* backend = answer->add_backends();
                           *backend = to_message(asked.id(), to_definition(asked, Owner::Api));
                           // As asked for, without a status, if that is not in force yet, or
                           // another call has removed it meanwhile.
                           if (service == nullptr || !reply.in_force) continue;
                           const auto found = service->backends.find(asked.id());
                           if (found == service->backends.end()) continue;
                           *backend = to_message(context->state(*reply.view, *loads), *service,
                                                 asked.id(), found->second);
                         }
                         answer->set_revision(reply.revision);
                       });
}

grpc::ServerUnaryReactor* BackendServiceImpl::DeregisterBackends(
    grpc::CallbackServerContext* rpc, const v1::DeregisterBackendsRequest* request,
    v1::DeregisterBackendsResponse* response) {
  DrainOptions options = drain_options(*request);
  options.force = request->force();
  auto change = [request = *request, options](DesiredState& state, ChangeEffect* effect) {
    return state.deregister_backends(request.service(), to_vector(request.ids()), options, effect);
  };
  return answer_change(*context_, rpc, *request, response, change,
                       [request = *request, context = context_](
                           const Manager::Reply& reply, v1::DeregisterBackendsResponse* answer) {
                         for (const auto& id : reply.effect.removed_ids) {
                           answer->add_removed_ids(id);
                         }
                         if (reply.in_force) {
                           add_backends(*context, *reply.view, request.service(), request.ids(),
                                        answer);
                         }
                         answer->set_revision(reply.revision);
                       });
}

grpc::ServerUnaryReactor* BackendServiceImpl::ReplaceBackends(
    grpc::CallbackServerContext* rpc, const v1::ReplaceBackendsRequest* request,
    v1::ReplaceBackendsResponse* response) {
  auto change = [request = *request](DesiredState& state,
                                     ChangeEffect* effect) -> DesiredState::Result {
    std::optional<std::uint64_t> expected;
    if (request.has_expected_revision()) expected = request.expected_revision();
    std::optional<std::chrono::milliseconds> timeout;
    if (request.has_drain_timeout_seconds()) {
      timeout = std::chrono::seconds(request.drain_timeout_seconds());
    }
    return state.replace_backends(request.service(), request.backends(), Owner::Api, expected,
                                  timeout, effect);
  };
  return answer_change(*context_, rpc, *request, response, change,
                       [](const Manager::Reply& reply, v1::ReplaceBackendsResponse* answer) {
                         for (const auto& id : reply.effect.changed_ids)
                           answer->add_changed_ids(id);
                         for (const auto& id : reply.effect.removed_ids)
                           answer->add_removed_ids(id);
                         answer->set_revision(reply.revision);
                       });
}

grpc::ServerUnaryReactor* BackendServiceImpl::DrainBackends(grpc::CallbackServerContext* rpc,
                                                            const v1::DrainBackendsRequest* request,
                                                            v1::DrainBackendsResponse* response) {
  auto change = [request = *request, options = drain_options(*request)](DesiredState& state,
                                                                        ChangeEffect* effect) {
    return state.drain_backends(request.service(), to_vector(request.ids()), options, effect);
  };
  return answer_change(*context_, rpc, *request, response, change,
                       [request = *request, context = context_](const Manager::Reply& reply,
                                                                v1::DrainBackendsResponse* answer) {
                         if (reply.in_force) {
                           add_backends(*context, *reply.view, request.service(), request.ids(),
                                        answer);
                         }
                         answer->set_revision(reply.revision);
                       });
}

grpc::ServerUnaryReactor* BackendServiceImpl::UpdateBackend(grpc::CallbackServerContext* rpc,
                                                            const v1::UpdateBackendRequest* request,
                                                            v1::UpdateBackendResponse* response) {
  auto change = [request = *request](DesiredState& state, ChangeEffect* effect) {
    return state.update_backend(request.service(), request.backend(), request.update_mask(),
                                effect);
  };
  return answer_change(*context_, rpc, *request, response, change,
                       [request = *request, context = context_](const Manager::Reply& reply,
                                                                v1::UpdateBackendResponse* answer) {
                         v1::ListBackendsResponse one;
                         if (reply.in_force) {
                           add_backends(*context, *reply.view, request.service(),
                                        std::vector<std::string>{request.backend().id()}, &one);
                         }
                         if (one.backends_size() > 0)
                           answer->mutable_backend()->Swap(one.mutable_backends(0));
                         answer->set_revision(reply.revision);
                       });
}

grpc::ServerUnaryReactor* BackendServiceImpl::GetBackend(grpc::CallbackServerContext* rpc,
                                                         const v1::GetBackendRequest* request,
                                                         v1::GetBackendResponse* response) {
  FieldErrors errors = validate_service_name(request->service(), "service");
  for (auto& error : validate_backend_reference(request->id(), "id")) errors.push_back(error);
  if (!errors.empty()) return answer_now(rpc, to_status(invalid_fields(std::move(errors))));
  const auto view = context_->manager->view();
  const ServiceRecord* service = view->find(request->service());
  if (service == nullptr) return answer_now(rpc, to_status(service_not_found(request->service())));
  const auto found = service->backends.find(request->id());
  if (found == service->backends.end()) {
    return answer_now(rpc, to_status(*backend_not_found(request->service(), request->id(), "id")));
  }
  const auto loads = context_->manager->loads();
  *response->mutable_backend() =
      to_message(context_->state(*view, *loads), *service, found->first, found->second);
  response->set_revision(view->revision);
  return answer_now(rpc, grpc::Status::OK);
}

grpc::ServerUnaryReactor* BackendServiceImpl::ListBackends(grpc::CallbackServerContext* rpc,
                                                           const v1::ListBackendsRequest* request,
                                                           v1::ListBackendsResponse* response) {
  FieldErrors errors = validate_service_name(request->service(), "service");
  // The token is the last id of the page before.
  if (!request->page_token().empty() &&
      !validate_backend_reference(request->page_token(), "page_token").empty()) {
    errors.push_back({"page_token", "is none that ListBackends has returned"});
  }
  if (!errors.empty()) return answer_now(rpc, to_status(invalid_fields(std::move(errors))));
  const auto view = context_->manager->view();
  const ServiceRecord* service = view->find(request->service());
  if (service == nullptr) return answer_now(rpc, to_status(service_not_found(request->service())));
  const auto loads = context_->manager->loads();
  *response = list_backends(context_->state(*view, *loads), *service, request->page_token(),
                            page_size(request->page_size()));
  return answer_now(rpc, grpc::Status::OK);
}

grpc::ServerWriteReactor<v1::WatchBackendsResponse>* BackendServiceImpl::WatchBackends(
    grpc::CallbackServerContext*, const v1::WatchBackendsRequest* request) {
  return context_->watches.watch(*request);
}

}  // namespace crab
