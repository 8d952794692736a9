// SPDX-License-Identifier: Apache-2.0
// A client of all of the API that changes something.
#pragma once

#include <string>
#include <vector>

#include "tests/unit/control/service_fixture.h"

namespace crab {

class ApiTest : public ServiceTest {
 protected:
  using Backends = v1::BackendService::Stub;
  using Leases = v1::LeaseService::Stub;
  using Admin = v1::ServiceAdmin::Stub;

  // web with b1 to bn, their next hops known.
  void create_web(int n) {
    auto web = service("web");
    for (int i = 1; i <= n; ++i) *web.add_backends() = backend("b" + std::to_string(i), host(i));
    ASSERT_EQ(create(web).code, grpc::StatusCode::OK);
    ASSERT_TRUE(eventually([&] {
      const auto list = backends("web");
      return std::all_of(list.backends().begin(), list.backends().end(),
                         [](const auto& one) { return one.status().eligible(); });
    }));
  }
  static v1::RegisterBackendsRequest register_request(const std::vector<v1::Backend>& backends) {
    v1::RegisterBackendsRequest request;
    request.set_service("web");
    for (const auto& one : backends) *request.add_backends() = one;
    return request;
  }
  std::vector<std::string> ids() {
    std::vector<std::string> all;
    const auto list = backends("web");
    for (const auto& one : list.backends()) all.push_back(one.id());
    return all;
  }
  v1::Backend get(const std::string& id) {
    v1::GetBackendRequest request;
    request.set_service("web");
    request.set_id(id);
    v1::GetBackendResponse response;
    EXPECT_EQ(call(&Backends::GetBackend, request, &response).code, grpc::StatusCode::OK);
    return response.backend();
  }
  Outcome drain(const std::vector<std::string>& ids) {
    v1::DrainBackendsRequest request;
    request.set_service("web");
    for (const auto& id : ids) request.add_ids(id);
    v1::DrainBackendsResponse response;
    return call(&Backends::DrainBackends, request, &response);
  }
  Outcome grant(const std::string& id, std::uint32_t ttl_ms, v1::OnExpiry on_expiry) {
    v1::GrantLeaseRequest request;
    request.mutable_lease()->set_id(id);
    request.mutable_lease()->set_ttl_ms(ttl_ms);
    request.mutable_lease()->set_on_expiry(on_expiry);
    v1::GrantLeaseResponse response;
    return call(&Leases::GrantLease, request, &response);
  }
  v1::ListLeasesResponse leases() {
    v1::ListLeasesResponse response;
    EXPECT_EQ(call(&Leases::ListLeases, v1::ListLeasesRequest(), &response).code,
              grpc::StatusCode::OK);
    return response;
  }

  // All that a change could have changed, without what changes by itself.
  std::string state() {
    auto all = services();
    all.clear_revision();
    std::string text = all.DebugString();
    for (const auto& one : all.services()) {
      auto list = backends(one.name());
      list.clear_revision();
      for (auto& backend : *list.mutable_backends()) {
        const auto state = backend.status().state();
        backend.clear_status();
        // By request; the others come and go with next hops.
        if (state >= v1::BACKEND_STATE_DRAINING) backend.mutable_status()->set_state(state);
      }
      text += list.DebugString();
    }
    auto listed = leases();
    for (auto& lease : *listed.mutable_leases()) lease.clear_expires();
    return text + listed.DebugString();
  }

  // Calls f(rpc, request, response) with a good request of every rpc that changes something, in an
  // order in which each can succeed; there has to be web with b1 and b2.
  template <typename F>
  void for_every_change(F f) {
    v1::GrantLeaseRequest grant;
    grant.mutable_lease()->set_id("lease-of-every-change");
    grant.mutable_lease()->set_ttl_ms(3'600'000);
    f(&Leases::GrantLease, grant, v1::GrantLeaseResponse());
    f(&Backends::RegisterBackends, register_request({backend("new", host(20))}),
      v1::RegisterBackendsResponse());
    v1::UpdateBackendRequest update;
    update.set_service("web");
    update.mutable_backend()->set_id("b1");
    update.mutable_backend()->set_weight(9);
    f(&Backends::UpdateBackend, update, v1::UpdateBackendResponse());
    v1::SetMaintenanceRequest maintain;
    maintain.set_service("web");
    maintain.add_ids("b1");
    maintain.set_maintenance(true);
    f(&Admin::SetMaintenance, maintain, v1::SetMaintenanceResponse());
    v1::DrainBackendsRequest drain;
    drain.set_service("web");
    drain.add_ids("b2");
    f(&Backends::DrainBackends, drain, v1::DrainBackendsResponse());
    v1::DeregisterBackendsRequest deregister;
    deregister.set_service("web");
    deregister.add_ids("b2");
    f(&Backends::DeregisterBackends, deregister, v1::DeregisterBackendsResponse());
    v1::ReplaceBackendsRequest replace;
    replace.set_service("web");
    *replace.add_backends() = backend("b7", host(7));
    f(&Backends::ReplaceBackends, replace, v1::ReplaceBackendsResponse());
    v1::SetPolicyRequest policy;
    policy.set_service("web");
    policy.mutable_policy()->set_name("random");
    f(&Admin::SetPolicy, policy, v1::SetPolicyResponse());
    v1::UpdateServiceRequest service_update;
    service_update.mutable_service()->set_name("web");
    service_update.mutable_service()->set_min_healthy_percent(10);
    service_update.mutable_update_mask()->add_paths("min_healthy_percent");
    f(&Admin::UpdateService, service_update, v1::UpdateServiceResponse());
    v1::CreateServiceRequest create;
    *create.mutable_service() = service("second", GetParam().other_vip);
    f(&Admin::CreateService, create, v1::CreateServiceResponse());
    v1::DeleteServiceRequest remove;
    remove.set_name(services().services_size() > 1 ? "second" : "web");
    f(&Admin::DeleteService, remove, v1::DeleteServiceResponse());
    if (leases().leases_size() == 0) return;
    v1::RevokeLeaseRequest revoke;
    revoke.set_lease_id("lease-of-every-change");
    f(&Leases::RevokeLease, revoke, v1::RevokeLeaseResponse());
  }
};

}  // namespace crab
