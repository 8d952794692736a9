// SPDX-License-Identifier: Apache-2.0
// Drives every rpc over a real Unix socket, and checks codes, details and that nothing is half
// applied.
#include <atomic>
#include <thread>

#include "tests/unit/control/service_fixture.h"

namespace crab {
namespace {

using grpc::StatusCode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

INSTANTIATE_TEST_SUITE_P(Both, ServiceTest, ::testing::ValuesIn(kServiceNets),
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

}  // namespace
}  // namespace crab
