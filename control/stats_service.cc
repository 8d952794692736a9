// SPDX-License-Identifier: Apache-2.0
// StatsService.
#include <boost/asio/post.hpp>

#include "control/errors.h"
#include "control/service.h"

namespace crab {
namespace {

void check_endpoint(const std::string& address, std::uint32_t port, const std::string& name,
                    FieldErrors* errors) {
  if (!IpAddress::parse(address)) {
    errors->push_back({name + "_address", "is not an IPv4 or IPv6 address"});
  }
  if (port < 1 || port > 65'535) errors->push_back({name + "_port", "must be 1 to 65535"});
}

FieldErrors validate(const v1::ExplainRequest& request) {
  FieldErrors errors;
  check_endpoint(request.source_address(), request.source_port(), "source", &errors);
  check_endpoint(request.destination_address(), request.destination_port(), "destination", &errors);
  if (!errors.empty()) return errors;
  if (IpAddress::parse(request.source_address())->family !=
      IpAddress::parse(request.destination_address())->family) {
    errors.push_back({"source_address", "is not of the destination's family"});
  }
  return errors;
}

const ServiceRecord* service_at(const View& view, const Endpoint& at, bool* is_virtual) {
  for (const auto& [name, service] : view.services) {
    *is_virtual |= service->definition.address == at.first;
    if (service->definition.address == at.first && service->definition.port == at.second) {
      return service.get();
    }
  }
  return nullptr;
}

void add_candidates(const NodeState& node, const ServiceRecord& service,
                    v1::ExplainResponse* response) {
  for (const auto& [id, backend] : service.backends) {
    const v1::Backend shown = to_message(node, service, id, backend);
    auto* candidate = response->add_candidates();
    candidate->set_id(id);
    candidate->set_eligible(shown.status().eligible());
    candidate->set_state(shown.status().state());
    candidate->set_reason(shown.status().reason());
    candidate->set_weight(backend.definition.weight);
    candidate->set_weight_percent(shown.status().weight_percent());
    *candidate->mutable_load() = shown.status().load();
  }
}

constexpr const char* kRecall =
    "; a SYN that a client sends again soon goes where its first one went";

// On the strand: the policy's set in force may not be swapped meanwhile.
v1::ExplainResponse explain(const NodeState& node, const v1::ExplainRequest& request) {
  v1::ExplainResponse response;
  response.set_revision(node.view.revision);
  response.set_choice("none");
  const FlowTuple flow{.source = *IpAddress::parse(request.source_address()),
                       .source_port = static_cast<std::uint16_t>(request.source_port()),
                       .destination = *IpAddress::parse(request.destination_address()),
                       .destination_port = static_cast<std::uint16_t>(request.destination_port())};
  bool is_virtual = false;
  const ServiceRecord* service =
      service_at(node.view, {flow.destination, flow.destination_port}, &is_virtual);
  if (service == nullptr) {
    response.set_reason(is_virtual ? "no service is at that port of the virtual address: the SYN "
                                     "is answered with a RST"
                                   : "not a virtual address of this node");
    return response;
  }
  response.set_service(service->definition.name);
  response.set_policy(service->definition.policy);
  response.set_rule(node.dataplane.policy_rule(*service->id));
  add_candidates(node, *service, &response);
  const auto choice = node.dataplane.explain(*service->id, flow);
  if (!choice) {
    response.set_reason("no backend is eligible: the SYN is dropped, and counted as no_backend");
    return response;
  }
  if (!choice->certain) {
    response.set_choice("open");
    response.set_reason("the policy's choice depends on the SYNs that come before: now " +
                        choice->why + kRecall);
    return response;
  }
  response.set_choice("certain");
  for (const auto& [id, backend] : service->backends) {
    if (*backend.load_slot == choice->load_slot) response.set_backend(id);
  }
  response.set_reason(choice->why + kRecall);
  return response;
}

}  // namespace

grpc::ServerUnaryReactor* StatsServiceImpl::GetStats(grpc::CallbackServerContext* rpc,
                                                     const v1::GetStatsRequest*,
                                                     v1::GetStatsResponse* response) {
  const auto view = context_->manager->view();
  const auto loads = context_->manager->loads();
  const Manager& manager = *context_->manager;
  *response = get_stats(context_->state(*view, *loads), manager.report_counters());
  *response->mutable_control() = to_message(manager.counters());
  const std::chrono::duration<double> uptime = std::chrono::steady_clock::now() - context_->started;
  response->set_uptime_seconds(uptime.count());
  return answer_now(rpc, grpc::Status::OK);
}

grpc::ServerUnaryReactor* StatsServiceImpl::Explain(grpc::CallbackServerContext* rpc,
                                                    const v1::ExplainRequest* request,
                                                    v1::ExplainResponse* response) {
  if (auto errors = validate(*request); !errors.empty()) {
    return answer_now(rpc, to_status(invalid_fields(std::move(errors))));
  }
  auto* reactor = rpc->DefaultReactor();
  const auto call = context_->calls.add(reactor);
  if (!call) return reactor;
  boost::asio::post(context_->manager->strand(),
                    [context = context_, call, response, request = *request] {
                      context->calls.answer(call, grpc::Status::OK, [&] {
                        const auto view = context->manager->view();
                        const auto loads = context->manager->loads();
                        *response = explain(context->state(*view, *loads), request);
                      });
                    });
  return reactor;
}

}  // namespace crab
