// SPDX-License-Identifier: Apache-2.0
// Drives every rpc over a real Unix socket, and checks codes, details and that nothing is half
// applied.
#include <gmock/gmock.h>
#include <google/protobuf/dynamic_message.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/error_details.h>
#include <gtest/gtest.h>

#include <atomic>

#include "control/errors.h"
#include "crab/v1/control.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "health.grpc.pb.h"
#include "tests/unit/control/test_server.h"

namespace crab {
namespace {

using grpc::StatusCode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

struct Net {
  const char* name;
  const char* vip;
  const char* other_vip;
  const char* own;
  const char* hosts;
  const char* of_the_other_family;
};

constexpr Net kNets[] = {{"Ipv4", "10.0.0.100", "10.0.0.101", "10.0.0.1", "10.0.1.", "fd00::5"},
                         {"Ipv6", "fd00::100", "fd00::101", "fd00::1", "fd00:1::", "10.0.0.5"}};

// What a call came to, its details unpacked.
struct Outcome {
  StatusCode code = StatusCode::OK;
  std::string reason;
  std::string message;
  std::vector<std::string> fields;
  std::map<std::string, std::string> metadata;
};

Outcome outcome_of(const grpc::Status& status) {
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
    google::rpc::BadRequest bad;
    if (!any.UnpackTo(&bad)) continue;
    for (const auto& violation : bad.field_violations()) {
      EXPECT_FALSE(violation.description().empty());
      outcome.fields.push_back(violation.field());
    }
  }
  return outcome;
}

class ServiceTest : public ::testing::TestWithParam<Net> {
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
  Outcome remove(const std::string& name, const std::vector<std::string>& ids) {
    v1::DeregisterBackendsRequest request;
    request.set_service(name);
    for (const auto& id : ids) request.add_ids(id);
    deregistered_.Clear();
    return call(&v1::BackendService::Stub::DeregisterBackends, request, &deregistered_);
  }
  v1::ListServicesResponse services() {
    v1::ListServicesResponse response;
    EXPECT_EQ(
        call(&v1::ServiceAdmin::Stub::ListServices, v1::ListServicesRequest(), &response).code,
        StatusCode::OK);
    return response;
  }
  v1::ListBackendsResponse backends(const std::string& name) {
    v1::ListBackendsRequest request;
    request.set_service(name);
    v1::ListBackendsResponse response;
    EXPECT_EQ(call(&v1::BackendService::Stub::ListBackends, request, &response).code,
              StatusCode::OK);
    return response;
  }
  v1::GetStatsResponse stats() {
    v1::GetStatsResponse response;
    EXPECT_EQ(call(&v1::StatsService::Stub::GetStats, v1::GetStatsRequest(), &response).code,
              StatusCode::OK);
    return response;
  }
  std::string health(const std::string& name) {
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(name);
    grpc::health::v1::HealthCheckResponse response;
    const auto outcome = call(&grpc::health::v1::Health::Stub::Check, request, &response);
    if (outcome.code != StatusCode::OK) return "code " + std::to_string(outcome.code);
    return grpc::health::v1::HealthCheckResponse::ServingStatus_Name(response.status());
  }

  TestServer server_;
  std::shared_ptr<grpc::Channel> channel_;
  v1::CreateServiceResponse created_;
  v1::RegisterBackendsResponse registered_;
  v1::DeregisterBackendsResponse deregistered_;
};

INSTANTIATE_TEST_SUITE_P(Both, ServiceTest, ::testing::ValuesIn(kNets),
                         [](const auto& test) { return test.param.name; });

TEST_P(ServiceTest, AServiceLivesAndDies) {
  auto web = service("web");
  web.add_keys("00112233445566778899aabbccddeeff");
  web.mutable_policy()->set_name("random");
  *web.add_backends() = backend("b1", host(1));
  ASSERT_EQ(create(web).code, StatusCode::OK);
  EXPECT_EQ(created_.service().owner(), v1::OWNER_API);
  EXPECT_EQ(created_.service().announce(), v1::ANNOUNCE_ARP);
  EXPECT_EQ(created_.service().option_form(), v1::OPTION_FORM_CRAB);
  EXPECT_EQ(created_.service().policy().name(), "random");
  EXPECT_THAT(created_.service().keys(), IsEmpty());
  ASSERT_EQ(created_.service().backends_size(), 1);
  EXPECT_EQ(created_.service().backends(0).weight(), 1u);

  const auto listed = services();
  ASSERT_EQ(listed.services_size(), 1);
  EXPECT_EQ(listed.services(0).name(), "web");
  EXPECT_EQ(listed.services(0).address(), GetParam().vip);
  EXPECT_EQ(listed.services(0).port(), 80u);
  EXPECT_THAT(listed.services(0).keys(), IsEmpty());
  EXPECT_THAT(listed.services(0).backends(), IsEmpty());
  EXPECT_GE(listed.revision(), created_.revision());

  EXPECT_EQ(destroy("web").code, StatusCode::OK);
  EXPECT_THAT(services().services(), IsEmpty());
  const auto again = destroy("web");
  EXPECT_EQ(again.code, StatusCode::NOT_FOUND);
  EXPECT_EQ(again.reason, "SERVICE_NOT_FOUND");
  EXPECT_THAT(again.metadata, ElementsAre(Pair("service", "web")));
}

TEST_P(ServiceTest, BackendsBecomeEligibleAndLeave) {
  ASSERT_EQ(create(service("web")).code, StatusCode::OK);
  auto heavy = backend("b2", host(2));
  heavy.set_weight(5);
  ASSERT_EQ(put("web", {heavy, backend("b1", host(1))}).code, StatusCode::OK);
  ASSERT_EQ(registered_.backends_size(), 2);
  EXPECT_EQ(registered_.backends(0).id(), "b2");
  EXPECT_EQ(registered_.backends(0).weight(), 5u);
  EXPECT_NE(registered_.backends(0).status().state(), v1::BACKEND_STATE_UNSPECIFIED);
  EXPECT_TRUE(eventually([&] {
    const auto list = backends("web");
    return list.backends(0).status().state() == v1::BACKEND_STATE_HEALTHY &&
           list.backends(1).status().state() == v1::BACKEND_STATE_HEALTHY;
  }));
  const auto list = backends("web");
  EXPECT_EQ(list.backends(0).id(), "b1");
  EXPECT_EQ(list.backends(0).address(), host(1));
  EXPECT_THAT(list.backends(0).status().next_hop_mac(), HasSubstr("02:00:00:00:00:"));

  server_.on_strand(
      [](FakeDataplane& dataplane) { dataplane.set_down(*IpAddress::parse(host(1)), "no route"); });
  EXPECT_TRUE(eventually([&] {
    const v1::BackendStatus status = backends("web").backends(0).status();
    return status.state() == v1::BACKEND_STATE_UNHEALTHY && status.reason() == "no route";
  }));

  EXPECT_EQ(remove("web", {"b1", "never-there", "b1"}).code, StatusCode::OK);
  EXPECT_THAT(deregistered_.removed_ids(), ElementsAre("b1"));
  EXPECT_EQ(backends("web").backends_size(), 1);
  EXPECT_EQ(remove("web", {"b1"}).code, StatusCode::OK);
  EXPECT_THAT(deregistered_.removed_ids(), IsEmpty());
}

TEST_P(ServiceTest, RepetitionsLeaveTheRevision) {
  auto web = service("web");
  *web.add_backends() = backend("b1", host(1));
  server_.on_strand([](FakeDataplane& dataplane) { dataplane.resolve_at_once = false; });
  ASSERT_EQ(create(web).code, StatusCode::OK);
  const auto revision = services().revision();
  EXPECT_EQ(create(web).code, StatusCode::OK);
  EXPECT_EQ(created_.revision(), revision);
  EXPECT_EQ(put("web", {backend("b1", host(1))}).code, StatusCode::OK);
  EXPECT_EQ(registered_.revision(), revision);
  EXPECT_EQ(remove("web", {"b7"}).code, StatusCode::OK);
  EXPECT_EQ(deregistered_.revision(), revision);
}

TEST_P(ServiceTest, ABadServiceIsRefusedWithEveryFieldNamed) {
  auto bad = service("-Web-", "0.0.0.0");
  bad.set_port(0);
  bad.mutable_policy()->set_name("none-such");
  bad.add_keys("short");
  bad.set_announce(static_cast<v1::Announce>(77));
  *bad.add_backends() = backend("b 1", "nowhere", 70000);
  const auto outcome = create(bad);
  EXPECT_EQ(outcome.code, StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(outcome.reason, "INVALID_FIELDS");
  EXPECT_THAT(
      outcome.fields,
      UnorderedElementsAre("service.name", "service.address", "service.port", "service.policy.name",
                           "service.keys[0]", "service.announce", "service.backends[0].id",
                           "service.backends[0].address", "service.backends[0].port"));
  EXPECT_THAT(services().services(), IsEmpty());
}

TEST_P(ServiceTest, ABadPolicyParameterIsRefused) {
  auto bad = service("web");
  (*bad.mutable_policy()->mutable_parameters())["d"] = "2";
  const auto outcome = create(bad);
  EXPECT_EQ(outcome.code, StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(outcome.fields, ElementsAre("service.policy.parameters"));
}

TEST_P(ServiceTest, AServiceThatExistsOtherwiseIsNotChanged) {
  ASSERT_EQ(create(service("web")).code, StatusCode::OK);
  auto other = service("web", GetParam().other_vip);
  other.mutable_policy()->set_name("random");
  const auto outcome = create(other);
  EXPECT_EQ(outcome.code, StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(outcome.reason, "SERVICE_EXISTS");
  EXPECT_THAT(outcome.fields, ElementsAre("service.address", "service.policy"));
  EXPECT_EQ(services().services(0).address(), GetParam().vip);

  const auto same_place = create(service("web2"));
  EXPECT_EQ(same_place.code, StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(same_place.reason, "ADDRESS_IN_USE");
  EXPECT_THAT(same_place.fields, ElementsAre("service.address"));
  EXPECT_EQ(create(service("own", GetParam().own)).code, StatusCode::INVALID_ARGUMENT);
}

TEST_P(ServiceTest, ABadBatchLeavesNothingBehind) {
  ASSERT_EQ(create(service("web")).code, StatusCode::OK);
  const auto revision = services().revision();
  auto weightless = backend("b3", host(3));
  weightless.set_weight(0);
  const auto outcome = put("web", {backend("b1", host(1)), backend("b1", host(2)), weightless,
                                   backend("b4", GetParam().of_the_other_family),
                                   backend("b5", host(1)), backend("", "::1", 0)});
  EXPECT_EQ(outcome.code, StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(outcome.reason, "INVALID_FIELDS");
  EXPECT_THAT(outcome.fields,
              ElementsAre("backends[1].id", "backends[2].weight", "backends[3].address",
                          "backends[4].address", "backends[5].id", "backends[5].port",
                          "backends[5].address"));
  const auto taken = put("web", {backend("b1", host(1)), backend("b2", GetParam().vip),
                                 backend("b3", GetParam().own)});
  EXPECT_EQ(taken.code, StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(taken.reason, "ADDRESS_IN_USE");
  EXPECT_THAT(taken.fields, ElementsAre("backends[1].address", "backends[2].address"));
  EXPECT_THAT(backends("web").backends(), IsEmpty());
  EXPECT_EQ(services().revision(), revision);
}

TEST_P(ServiceTest, EveryRpcRefusesWhatItCannotDo) {
  ASSERT_EQ(create(service("web")).code, StatusCode::OK);
  EXPECT_THAT(put("web", {}).fields, ElementsAre("backends"));
  EXPECT_THAT(put("", {backend("b1", host(1))}).fields, ElementsAre("service"));
  EXPECT_EQ(put("none", {backend("b1", host(1))}).reason, "SERVICE_NOT_FOUND");
  EXPECT_THAT(remove("web", {}).fields, ElementsAre("ids"));
  EXPECT_THAT(remove("web", {"b1", "b 2"}).fields, ElementsAre("ids[1]"));
  EXPECT_EQ(remove("none", {"b1"}).code, StatusCode::NOT_FOUND);
  EXPECT_THAT(destroy("").fields, ElementsAre("name"));
  v1::ListBackendsResponse response;
  v1::ListBackendsRequest request;
  EXPECT_THAT(call(&v1::BackendService::Stub::ListBackends, request, &response).fields,
              ElementsAre("service"));
  request.set_service("none");
  EXPECT_EQ(call(&v1::BackendService::Stub::ListBackends, request, &response).code,
            StatusCode::NOT_FOUND);
  EXPECT_THAT(create({}).fields,
              UnorderedElementsAre("service.name", "service.address", "service.port"));
}

TEST_P(ServiceTest, ABatchHasALimit) {
  ASSERT_EQ(create(service("web")).code, StatusCode::OK);
  std::vector<v1::Backend> many;
  for (int i = 0; i < 1'000; ++i) {
    many.push_back(backend("b" + std::to_string(i), host(1), static_cast<std::uint32_t>(1 + i)));
  }
  EXPECT_EQ(put("web", many).code, StatusCode::OK);
  EXPECT_EQ(registered_.backends_size(), 1'000);
  many.push_back(backend("more", host(2)));
  EXPECT_THAT(put("web", many).fields, ElementsAre("backends"));
  std::vector<std::string> ids(1'001, "b1");
  EXPECT_THAT(remove("web", ids).fields, ElementsAre("ids"));
  ids.resize(1'000);
  EXPECT_EQ(remove("web", ids).code, StatusCode::OK);
}

// Trailers have a limit: an error that outgrows it would arrive as another one.
TEST_P(ServiceTest, ManyLongErrorsStillArrive) {
  ASSERT_EQ(create(service("web")).code, StatusCode::OK);
  std::vector<v1::Backend> bad;
  for (int i = 0; i < 1'000; ++i) {
    bad.push_back(backend("b" + std::to_string(i), std::string(500, 'x') + "\n"));
  }
  const auto outcome = put("web", bad);
  EXPECT_EQ(outcome.code, StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(outcome.reason, "INVALID_FIELDS");
  EXPECT_EQ(outcome.fields.front(), "backends[0].address");
  EXPECT_THAT(outcome.message, HasSubstr(" of 1000 are named"));
}

TEST_P(ServiceTest, ConcurrentChangesAreAllThere) {
  ASSERT_EQ(create(service("web")).code, StatusCode::OK);
  constexpr int kThreads = 8;
  constexpr int kEach = 25;
  std::atomic<int> n_failed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      v1::BackendService::Stub stub(channel_, {});
      for (int i = 0; i < kEach; ++i) {
        v1::RegisterBackendsRequest request;
        request.set_service("web");
        const int n = t * kEach + i;
        *request.add_backends() =
            backend("b" + std::to_string(n), host(t), static_cast<std::uint32_t>(1 + n));
        // All of them want this one too, and agree about it.
        *request.add_backends() = backend("shared", host(99));
        grpc::ClientContext context;
        v1::RegisterBackendsResponse response;
        n_failed += !stub.RegisterBackends(&context, request, &response).ok();
        n_failed += response.backends_size() != 2;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(n_failed, 0);
  EXPECT_EQ(backends("web").backends_size(), kThreads * kEach + 1);
}

TEST_P(ServiceTest, OfConcurrentRivalsOneWins) {
  std::atomic<int> n_won{0};
  std::atomic<int> n_lost{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      v1::ServiceAdmin::Stub stub(channel_, {});
      v1::CreateServiceRequest request;
      *request.mutable_service() = service("rival-" + std::to_string(t));
      grpc::ClientContext context;
      v1::CreateServiceResponse response;
      const auto status = stub.CreateService(&context, request, &response);
      n_won += status.ok();
      n_lost += status.error_code() == StatusCode::ALREADY_EXISTS;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(n_won, 1);
  EXPECT_EQ(n_lost, 7);
  EXPECT_EQ(services().services_size(), 1);
}

TEST_P(ServiceTest, AChangeThatCannotBePublishedIsNotApplied) {
  server_.on_strand([](FakeDataplane& dataplane) {
    dataplane.before_publish = [](const auto&) { throw std::bad_alloc(); };
  });
  const auto outcome = create(service("web"));
  EXPECT_EQ(outcome.code, StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(outcome.reason, "OUT_OF_MEMORY");
  EXPECT_THAT(services().services(), IsEmpty());
  EXPECT_EQ(health(""), "SERVING");
}

TEST_P(ServiceTest, AStuckWorkerIsNamedAndHealthTells) {
  EXPECT_EQ(health(""), "SERVING");
  server_.on_strand([](FakeDataplane& dataplane) { dataplane.stuck_workers = {0, 1}; });
  const auto outcome = create(service("web"));
  EXPECT_EQ(outcome.code, StatusCode::UNAVAILABLE);
  EXPECT_EQ(outcome.reason, "WORKER_STUCK");
  EXPECT_THAT(outcome.metadata, ElementsAre(Pair("workers", "0,1")));
  EXPECT_EQ(services().services_size(), 1);
  EXPECT_EQ(health(""), "NOT_SERVING");
  server_.on_strand([](FakeDataplane& dataplane) { dataplane.stuck_workers.clear(); });
  EXPECT_TRUE(eventually([&] { return health("") == "SERVING"; }));
  EXPECT_EQ(create(service("web")).code, StatusCode::OK);
}

TEST_P(ServiceTest, HealthKnowsEachService) {
  for (const char* name :
       {"", "crab.v1.BackendService", "crab.v1.ServiceAdmin", "crab.v1.StatsService"}) {
    EXPECT_EQ(health(name), "SERVING") << name;
  }
  EXPECT_EQ(health("crab.v1.NoSuchService"), "code 5");
}

TEST_P(ServiceTest, StatsAddUpTheWorkers) {
  ASSERT_EQ(create(service("web")).code, StatusCode::OK);
  ASSERT_EQ(put("web", {backend("b1", host(1))}).code, StatusCode::OK);
  ASSERT_TRUE(eventually(
      [&] { return backends("web").backends(0).status().state() == v1::BACKEND_STATE_HEALTHY; }));
  server_.on_strand([](FakeDataplane& dataplane) {
    const auto& web = *dataplane.find(GetParam().vip);
    for (unsigned w = 0; w < 2; ++w) {
      auto& worker = dataplane.counters_of(w);
      worker.pending().n_rx_packets = 10;
      worker.pending().n_verdicts[static_cast<std::size_t>(Verdict::Redirected)] = 3;
      worker.pending().n_verdicts[static_cast<std::size_t>(Verdict::Host)] = 7;
      worker.publish();
      worker.count_assignments(web.id, 3);
      worker.count_assignment_to(web.eligible[0].load_slot);
      worker.count_refusal(web.id);
    }
  });
  const auto got = stats();
  EXPECT_EQ(got.datapath().received_packets(), 20u);
  std::uint64_t sum = 0;
  std::map<std::string, std::uint64_t> verdicts;
  for (const auto& verdict : got.datapath().verdicts()) {
    sum += verdict.packets();
    verdicts[verdict.verdict()] = verdict.packets();
  }
  EXPECT_EQ(sum, 20u);
  EXPECT_EQ(verdicts.size(), kVerdictCount);
  EXPECT_EQ(verdicts["redirected"], 6u);
  ASSERT_EQ(got.workers_size(), 2);
  EXPECT_EQ(got.workers(1).redirected_packets(), 3u);
  ASSERT_EQ(got.services_size(), 1);
  EXPECT_EQ(got.services(0).assigned_connections(), 6u);
  EXPECT_EQ(got.services(0).refused_packets(), 2u);
  EXPECT_EQ(got.services(0).eligible_backends(), 1u);
  EXPECT_EQ(backends("web").backends(0).status().assigned_connections(), 2u);
}

TEST_P(ServiceTest, ACallThatTheStrandNeverSeesEndsWithTheServer) {
  server_.stop_strand();
  std::thread caller([&] {
    const auto outcome = create(service("web"));
    EXPECT_EQ(outcome.code, StatusCode::UNAVAILABLE);
  });
  // Reads are answered without the strand, and their answer comes after the other call's arrival
  // or before: either way stop() must end it.
  stats();
  server_.stop();
  caller.join();
}

// Asks for the list of services over grpc.reflection.v1alpha, whose messages the plugin brings.
TEST_P(ServiceTest, ReflectionListsTheServices) {
  const auto* pool = google::protobuf::DescriptorPool::generated_pool();
  google::protobuf::DynamicMessageFactory factory;
  const auto* asked =
      pool->FindMessageTypeByName("grpc.reflection.v1alpha.ServerReflectionRequest");
  const auto* got = pool->FindMessageTypeByName("grpc.reflection.v1alpha.ServerReflectionResponse");
  ASSERT_NE(asked, nullptr);
  const std::unique_ptr<google::protobuf::Message> request(factory.GetPrototype(asked)->New());
  request->GetReflection()->SetString(request.get(), asked->FindFieldByName("list_services"), "*");
  grpc::Slice slice(request->SerializeAsString());
  grpc::ByteBuffer out(&slice, 1);

  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto call = stub.PrepareCall(
      &context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  const auto wait = [&] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  call->StartCall(nullptr);
  ASSERT_TRUE(wait());
  call->Write(out, nullptr);
  ASSERT_TRUE(wait());
  grpc::ByteBuffer in;
  call->Read(&in, nullptr);
  ASSERT_TRUE(wait());
  grpc::Slice answer;
  ASSERT_TRUE(in.DumpToSingleSlice(&answer).ok());
  const std::unique_ptr<google::protobuf::Message> response(factory.GetPrototype(got)->New());
  ASSERT_TRUE(response->ParseFromArray(answer.begin(), static_cast<int>(answer.size())));
  const std::string text = response->DebugString();
  for (const char* name : {"crab.v1.BackendService", "crab.v1.ServiceAdmin", "crab.v1.StatsService",
                           "grpc.health.v1.Health"}) {
    EXPECT_THAT(text, HasSubstr(name));
  }
  context.TryCancel();
  grpc::Status status;
  call->Finish(&status, nullptr);
  wait();
  queue.Shutdown();
}

}  // namespace
}  // namespace crab
