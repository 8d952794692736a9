// SPDX-License-Identifier: Apache-2.0
// A client of the control API, connected to a server over a Unix socket.
#pragma once

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/support/error_details.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "crab/v1/control.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "health.grpc.pb.h"
#include "tests/unit/control/test_server.h"

namespace crab {

struct ServiceNet {
  const char* name;
  const char* vip;
  const char* other_vip;
  const char* own;
  const char* hosts;
  const char* of_the_other_family;
};

inline constexpr ServiceNet kServiceNets[] = {
    {"Ipv4", "10.0.0.100", "10.0.0.101", "10.0.0.1", "10.0.1.", "fd00::5"},
    {"Ipv6", "fd00::100", "fd00::101", "fd00::1", "fd00:1::", "10.0.0.5"}};

// What a call came to, its details unpacked.
struct Outcome {
  grpc::StatusCode code = grpc::StatusCode::OK;
  std::string reason;
  std::string message;
  std::vector<std::string> fields;
  std::map<std::string, std::string> metadata;
  double retry_seconds = 0;
};

inline Outcome outcome_of(const grpc::Status& status) {
  Outcome outcome;
  outcome.code = status.error_code();
  outcome.message = status.error_message();
  google::rpc::Status details;
  if (status.error_details().empty()) return outcome;
  EXPECT_TRUE(grpc::ExtractErrorDetails(status, &details).ok());
  EXPECT_EQ(details.code(), status.error_code());
  for (const auto& any : details.details()) {
    google::rpc::ErrorInfo info;
    if (any.UnpackTo(&info)) {
      outcome.reason = info.reason();
      EXPECT_EQ(info.domain(), "crab.v1");
      outcome.metadata = {info.metadata().begin(), info.metadata().end()};
    }
    google::rpc::RetryInfo retry;
    if (any.UnpackTo(&retry)) {
      outcome.retry_seconds =
          static_cast<double>(retry.retry_delay().seconds()) + retry.retry_delay().nanos() * 1e-9;
    }
    google::rpc::BadRequest bad;
    if (!any.UnpackTo(&bad)) continue;
    for (const auto& violation : bad.field_violations()) {
      EXPECT_FALSE(violation.description().empty());
      outcome.fields.push_back(violation.field());
    }
  }
  return outcome;
}

class ServiceTest : public ::testing::TestWithParam<ServiceNet> {
 protected:
  ServiceTest() {
    server_.dataplane.own.insert(*IpAddress::parse(GetParam().own));
    server_.start();
    channel_ = grpc::CreateChannel(server_.listener(), grpc::InsecureChannelCredentials());
  }

  template <typename Stub, typename Request, typename Response>
  Outcome call(grpc::Status (Stub::*rpc)(grpc::ClientContext*, const Request&, Response*),
               const Request& request, Response* response) {
    Stub stub(channel_, {});
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
    return outcome_of((stub.*rpc)(&context, request, response));
  }

  static std::string host(int i) { return GetParam().hosts + std::to_string(i); }
  static v1::Service service(const std::string& name, const char* vip = GetParam().vip) {
    v1::Service message;
    message.set_name(name);
    message.set_address(vip);
    message.set_port(80);
    return message;
  }
  static v1::Backend backend(const std::string& id, const std::string& address,
                             std::uint32_t port = 8080) {
    v1::Backend message;
    message.set_id(id);
    message.set_address(address);
    message.set_port(port);
    return message;
  }

  Outcome create(const v1::Service& message) {
    v1::CreateServiceRequest request;
    *request.mutable_service() = message;
    created_.Clear();
    return call(&v1::ServiceAdmin::Stub::CreateService, request, &created_);
  }
  Outcome destroy(const std::string& name) {
    v1::DeleteServiceRequest request;
    request.set_name(name);
    v1::DeleteServiceResponse response;
    return call(&v1::ServiceAdmin::Stub::DeleteService, request, &response);
  }
  Outcome put(const std::string& name, const std::vector<v1::Backend>& backends) {
    v1::RegisterBackendsRequest request;
    request.set_service(name);
    for (const auto& one : backends) *request.add_backends() = one;
    v1::RegisterBackendsResponse response;
    const auto outcome = call(&v1::BackendService::Stub::RegisterBackends, request, &response);
    registered_ = response;
    return outcome;
  }
  // At once, without a drain.
  Outcome remove(const std::string& name, const std::vector<std::string>& ids) {
    v1::DeregisterBackendsRequest request;
    request.set_service(name);
    request.set_drain_timeout_seconds(0);
    for (const auto& id : ids) request.add_ids(id);
    deregistered_.Clear();
    return call(&v1::BackendService::Stub::DeregisterBackends, request, &deregistered_);
  }
  v1::ListServicesResponse services() {
    v1::ListServicesResponse response;
    EXPECT_EQ(
        call(&v1::ServiceAdmin::Stub::ListServices, v1::ListServicesRequest(), &response).code,
        grpc::StatusCode::OK);
    return response;
  }
  v1::ListBackendsResponse backends(const std::string& name) {
    v1::ListBackendsRequest request;
    request.set_service(name);
    v1::ListBackendsResponse response;
    EXPECT_EQ(call(&v1::BackendService::Stub::ListBackends, request, &response).code,
              grpc::StatusCode::OK);
    return response;
  }
  v1::GetStatsResponse stats() {
    v1::GetStatsResponse response;
    EXPECT_EQ(call(&v1::StatsService::Stub::GetStats, v1::GetStatsRequest(), &response).code,
              grpc::StatusCode::OK);
    return response;
  }
  std::string health(const std::string& name) {
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(name);
    grpc::health::v1::HealthCheckResponse response;
    const auto outcome = call(&grpc::health::v1::Health::Stub::Check, request, &response);
    if (outcome.code != grpc::StatusCode::OK) return "code " + std::to_string(outcome.code);
    return grpc::health::v1::HealthCheckResponse::ServingStatus_Name(response.status());
  }

  TestServer server_;
  std::shared_ptr<grpc::Channel> channel_;
  v1::CreateServiceResponse created_;
  v1::RegisterBackendsResponse registered_;
  v1::DeregisterBackendsResponse deregistered_;
};

}  // namespace crab
