// SPDX-License-Identifier: Apache-2.0
// What holds for every rpc that changes something: good, bad, repeated, concurrent and stale
// requests over a real socket; codes, details, and that nothing is half applied.
#include <atomic>
#include <thread>

#include "tests/unit/control/api_fixture.h"

namespace crab {
namespace {

using grpc::StatusCode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

INSTANTIATE_TEST_SUITE_P(Both, ApiTest, ::testing::ValuesIn(kServiceNets),
                         [](const auto& test) { return test.param.name; });

TEST_P(ApiTest, ARepeatedRequestGetsTheSameAnswerAndIsNotDoneTwice) {
  create_web(2);
  auto request = register_request({backend("b3", host(3))});
  request.set_request_id("register-3");
  v1::RegisterBackendsResponse first;
  ASSERT_EQ(call(&Backends::RegisterBackends, request, &first).code, StatusCode::OK);
  ASSERT_EQ(remove("web", {"b3"}).code, StatusCode::OK);
  v1::RegisterBackendsResponse again;
  ASSERT_EQ(call(&Backends::RegisterBackends, request, &again).code, StatusCode::OK);
  EXPECT_EQ(again.SerializeAsString(), first.SerializeAsString());
  EXPECT_THAT(ids(), ElementsAre("b1", "b2")) << "it was not done again";
  EXPECT_EQ(stats().control().repeated_requests(), 1u);

  *request.add_backends() = backend("b4", host(4));
  const auto other = call(&Backends::RegisterBackends, request, &again);
  EXPECT_EQ(other.code, StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(other.reason, "REQUEST_ID_REUSED");
  EXPECT_THAT(other.fields, ElementsAre("request_id"));
  // Another rpc's request is another one too.
  v1::DrainBackendsRequest drain;
  drain.set_service("web");
  drain.add_ids("b1");
  drain.set_request_id("register-3");
  v1::DrainBackendsResponse drained;
  EXPECT_EQ(call(&Backends::DrainBackends, drain, &drained).reason, "REQUEST_ID_REUSED");
  EXPECT_THAT(ids(), ElementsAre("b1", "b2"));
}

TEST_P(ApiTest, ARequestThatFailedMayBeTriedAgainUnderItsId) {
  create_web(0);
  auto request = register_request({backend("b1", host(1))});
  request.set_request_id("once");
  server_.on_strand([](FakeDataplane& dataplane) {
    dataplane.before_publish = [](const auto&) { throw std::bad_alloc(); };
  });
  v1::RegisterBackendsResponse response;
  const auto full = call(&Backends::RegisterBackends, request, &response);
  EXPECT_EQ(full.code, StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(full.reason, "OUT_OF_MEMORY");
  EXPECT_GT(full.retry_seconds, 0);
  server_.on_strand([](FakeDataplane& dataplane) { dataplane.before_publish = nullptr; });
  EXPECT_EQ(call(&Backends::RegisterBackends, request, &response).code, StatusCode::OK);
  EXPECT_THAT(ids(), ElementsAre("b1"));
}

TEST_P(ApiTest, OfConcurrentRepetitionsOneIsDone) {
  create_web(0);
  constexpr int kThreads = 8;
  std::atomic<int> n_ok{0};
  std::array<std::string, kThreads> answers;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      auto request = register_request({backend("b1", host(1))});
      request.set_request_id("the-same");
      v1::RegisterBackendsResponse response;
      n_ok += call(&Backends::RegisterBackends, request, &response).code == StatusCode::OK;
      answers[static_cast<std::size_t>(t)] = response.SerializeAsString();
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(n_ok, kThreads);
  for (const auto& answer : answers) EXPECT_EQ(answer, answers[0]);
  EXPECT_EQ(stats().control().repeated_requests(), kThreads - 1u);
}

TEST_P(ApiTest, EveryChangeCanBeCheckedAlone) {
  create_web(2);
  const auto before = state();
  for_every_change([&](auto rpc, auto request, auto response) {
    request.set_validate_only(true);
    const auto outcome = call(rpc, request, &response);
    EXPECT_EQ(outcome.code, StatusCode::OK) << request.GetTypeName() << outcome.message;
    EXPECT_EQ(state(), before) << request.GetTypeName();
  });
}

TEST_P(ApiTest, EveryChangeRefusesWhatIsNoOption) {
  create_web(2);
  const auto before = state();
  for_every_change([&](auto rpc, auto request, auto response) {
    request.set_request_id(std::string(129, 'x'));
    request.set_wait_for(static_cast<v1::WaitFor>(9));
    const auto outcome = call(rpc, request, &response);
    EXPECT_EQ(outcome.code, StatusCode::INVALID_ARGUMENT) << request.GetTypeName();
    EXPECT_THAT(outcome.fields, ElementsAre("request_id", "wait_for")) << request.GetTypeName();
    EXPECT_EQ(state(), before) << request.GetTypeName();
  });
}

TEST_P(ApiTest, EveryChangeCanBeRepeatedWithoutAnId) {
  create_web(2);
  for_every_change([&](auto rpc, auto request, auto response) {
    const auto name = request.GetTypeName();
    const auto first = call(rpc, request, &response);
    EXPECT_EQ(first.code, StatusCode::OK) << name << first.message;
    const auto before = state();
    const auto again = call(rpc, request, &response);
    // What is deleted is not there to be deleted again; all else is as it was asked to be.
    const bool deletes =
        name == "crab.v1.DeleteServiceRequest" || name == "crab.v1.RevokeLeaseRequest";
    EXPECT_EQ(again.code, deletes ? StatusCode::NOT_FOUND : StatusCode::OK)
        << name << again.message;
    EXPECT_EQ(state(), before) << name;
  });
}

TEST_P(ApiTest, WhatIsAcceptedComesIntoForce) {
  create_web(1);
  auto request = register_request({backend("b2", host(2))});
  request.set_wait_for(v1::WAIT_FOR_ACCEPTED);
  v1::RegisterBackendsResponse response;
  ASSERT_EQ(call(&Backends::RegisterBackends, request, &response).code, StatusCode::OK);
  ASSERT_EQ(response.backends_size(), 1);
  EXPECT_EQ(response.backends(0).id(), "b2");
  EXPECT_FALSE(response.backends(0).has_status());
  EXPECT_TRUE(eventually([&] { return ids().size() == 2; }));
  EXPECT_GE(backends("web").revision(), response.revision());
}

TEST_P(ApiTest, EtagsGuardAgainstStaleChanges) {
  create_web(2);
  const std::string etag = get("b1").etag();
  ASSERT_FALSE(etag.empty());
  auto heavy = backend("b1", host(1));
  heavy.set_weight(5);
  heavy.set_etag(etag);
  ASSERT_EQ(put("web", {heavy}).code, StatusCode::OK);
  EXPECT_NE(get("b1").etag(), etag);
  EXPECT_EQ(registered_.backends(0).etag(), get("b1").etag());

  heavy.set_weight(6);
  const auto stale = put("web", {backend("b3", host(3)), heavy});
  EXPECT_EQ(stale.code, StatusCode::ABORTED);
  EXPECT_EQ(stale.reason, "ETAG_MISMATCH");
  EXPECT_THAT(stale.fields, ElementsAre("backends[1].etag"));
  EXPECT_EQ(stale.metadata.at("etag"), get("b1").etag());
  EXPECT_THAT(ids(), ElementsAre("b1", "b2")) << "nothing of the batch is applied";

  v1::UpdateBackendRequest update;
  update.set_service("web");
  *update.mutable_backend() = heavy;
  v1::UpdateBackendResponse updated;
  EXPECT_EQ(call(&Backends::UpdateBackend, update, &updated).reason, "ETAG_MISMATCH");
  v1::DeregisterBackendsRequest remove;
  remove.set_service("web");
  remove.add_ids("b1");
  (*remove.mutable_etags())["b1"] = etag;
  v1::DeregisterBackendsResponse removed;
  EXPECT_EQ(call(&Backends::DeregisterBackends, remove, &removed).reason, "ETAG_MISMATCH");
  v1::DrainBackendsRequest drain;
  drain.set_service("web");
  drain.add_ids("b1");
  (*drain.mutable_etags())["b1"] = etag;
  v1::DrainBackendsResponse drained;
  EXPECT_EQ(call(&Backends::DrainBackends, drain, &drained).code, StatusCode::ABORTED);
  EXPECT_EQ(get("b1").weight(), 5u);
  EXPECT_NE(get("b1").status().state(), v1::BACKEND_STATE_DRAINING);

  (*drain.mutable_etags())["b1"] = get("b1").etag();
  EXPECT_EQ(call(&Backends::DrainBackends, drain, &drained).code, StatusCode::OK);
  EXPECT_EQ(get("b1").status().state(), v1::BACKEND_STATE_DRAINING);
}

TEST_P(ApiTest, OfConcurrentChangesOfOneStateOneWins) {
  create_web(1);
  const std::string etag = get("b1").etag();
  std::atomic<int> n_won{0};
  std::atomic<int> n_stale{0};
  std::vector<std::thread> threads;
  for (std::uint32_t t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      v1::UpdateBackendRequest update;
      update.set_service("web");
      update.mutable_backend()->set_id("b1");
      update.mutable_backend()->set_weight(100 + t);
      update.mutable_backend()->set_etag(etag);
      v1::UpdateBackendResponse response;
      const auto outcome = call(&Backends::UpdateBackend, update, &response);
      n_won += outcome.code == StatusCode::OK;
      n_stale += outcome.code == StatusCode::ABORTED;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(n_won, 1);
  EXPECT_EQ(n_stale, 7);
}

TEST_P(ApiTest, UpdateBackendChangesWhatTheMaskNames) {
  create_web(2);
  v1::UpdateBackendRequest request;
  request.set_service("web");
  request.mutable_backend()->set_id("b1");
  request.mutable_backend()->set_weight(7);
  request.mutable_backend()->set_port(9999);
  request.mutable_update_mask()->add_paths("weight");
  v1::UpdateBackendResponse response;
  ASSERT_EQ(call(&Backends::UpdateBackend, request, &response).code, StatusCode::OK);
  EXPECT_EQ(response.backend().weight(), 7u);
  EXPECT_EQ(response.backend().port(), 8080u);
  request.mutable_update_mask()->add_paths("status");
  EXPECT_THAT(call(&Backends::UpdateBackend, request, &response).fields,
              ElementsAre("update_mask"));
  request.clear_update_mask();
  request.mutable_backend()->set_weight(0);
  EXPECT_THAT(call(&Backends::UpdateBackend, request, &response).fields,
              ElementsAre("backend.weight"));
  request.mutable_backend()->set_id("b9");
  EXPECT_EQ(call(&Backends::UpdateBackend, request, &response).reason, "BACKEND_NOT_FOUND");
  // A draining backend may be changed, and goes on draining.
  ASSERT_EQ(drain({"b2"}).code, StatusCode::OK);
  request.mutable_backend()->set_id("b2");
  request.mutable_backend()->set_weight(3);
  request.mutable_backend()->clear_port();
  ASSERT_EQ(call(&Backends::UpdateBackend, request, &response).code, StatusCode::OK);
  EXPECT_EQ(get("b2").weight(), 3u);
  EXPECT_EQ(get("b2").status().state(), v1::BACKEND_STATE_DRAINING);
}

TEST_P(ApiTest, ReplaceIsDeclarativeAndRefusesAStaleRevision) {
  create_web(3);
  const auto seen = backends("web").revision();
  v1::ReplaceBackendsRequest request;
  request.set_service("web");
  *request.add_backends() = backend("b1", host(1));
  *request.add_backends() = backend("b4", host(4));
  request.set_expected_revision(seen);
  v1::ReplaceBackendsResponse response;
  ASSERT_EQ(call(&Backends::ReplaceBackends, request, &response).code, StatusCode::OK);
  EXPECT_THAT(response.changed_ids(), ElementsAre("b4"));
  EXPECT_THAT(response.removed_ids(), ElementsAre("b2", "b3"));
  EXPECT_EQ(get("b2").status().state(), v1::BACKEND_STATE_DRAINING);
  EXPECT_EQ(get("b2").status().drain().deregistered(), true);

  request.mutable_backends(1)->set_port(1);
  const auto stale = call(&Backends::ReplaceBackends, request, &response);
  EXPECT_EQ(stale.code, StatusCode::ABORTED);
  EXPECT_EQ(stale.reason, "REVISION_MISMATCH");
  EXPECT_EQ(get("b4").port(), 8080u);

  request.clear_expected_revision();
  request.mutable_backends(1)->set_address(GetParam().vip);
  const auto bad = call(&Backends::ReplaceBackends, request, &response);
  EXPECT_EQ(bad.reason, "ADDRESS_IN_USE");
  EXPECT_THAT(bad.fields, ElementsAre("backends[1].address"));
  request.clear_backends();
  request.set_drain_timeout_seconds(0);
  ASSERT_EQ(call(&Backends::ReplaceBackends, request, &response).code, StatusCode::OK);
  EXPECT_THAT(response.removed_ids(), ElementsAre("b1", "b4"));
  EXPECT_THAT(ids(), ElementsAre("b2", "b3")) << "those that drain still do";
}

TEST_P(ApiTest, DeregisteredBackendsDrainAndSaySo) {
  create_web(2);
  v1::DeregisterBackendsRequest request;
  request.set_service("web");
  request.add_ids("b1");
  request.add_ids("b9");
  request.set_reason("scale in");
  request.set_drain_timeout_seconds(3'600);
  v1::DeregisterBackendsResponse response;
  ASSERT_EQ(call(&Backends::DeregisterBackends, request, &response).code, StatusCode::OK);
  EXPECT_THAT(response.removed_ids(), ElementsAre("b1"));
  ASSERT_EQ(response.backends_size(), 1);
  const auto& status = response.backends(0).status();
  EXPECT_EQ(status.state(), v1::BACKEND_STATE_DRAINING);
  EXPECT_THAT(status.reason(), HasSubstr("deregistered: scale in"));
  EXPECT_THAT(status.reason(), HasSubstr("only the deadline ends it"));
  EXPECT_FALSE(status.eligible());
  EXPECT_GT(status.drain().deadline().seconds(), status.since().seconds() + 3'598);
  EXPECT_EQ(stats().services(0).draining_backends(), 1u);
  request.set_drain_timeout_seconds(86'401);
  request.set_reason(std::string(256, 'x'));
  EXPECT_THAT(call(&Backends::DeregisterBackends, request, &response).fields,
              ElementsAre("drain_timeout_seconds", "reason"));
}

TEST_P(ApiTest, ListsComeInPages) {
  create_web(0);
  std::vector<v1::Backend> many;
  for (std::uint32_t i = 0; i < 1'000; ++i) {
    many.push_back(backend("b" + std::to_string(1'000 + i), host(1), 1 + i));
  }
  ASSERT_EQ(put("web", many).code, StatusCode::OK);
  ASSERT_EQ(put("web", {backend("z", host(2))}).code, StatusCode::OK);
  v1::ListBackendsRequest request;
  request.set_service("web");
  std::vector<std::string> seen;
  std::vector<int> sizes;
  do {
    v1::ListBackendsResponse page;
    ASSERT_EQ(call(&Backends::ListBackends, request, &page).code, StatusCode::OK);
    sizes.push_back(page.backends_size());
    for (const auto& one : page.backends()) seen.push_back(one.id());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_THAT(sizes, ElementsAre(1'000, 1));
  EXPECT_EQ(seen.back(), "z");
  request.set_page_size(400);
  request.set_page_token("b1998");
  v1::ListBackendsResponse page;
  ASSERT_EQ(call(&Backends::ListBackends, request, &page).code, StatusCode::OK);
  EXPECT_EQ(page.backends_size(), 2);
  EXPECT_EQ(page.next_page_token(), "");
  request.set_page_token("no token");
  EXPECT_THAT(call(&Backends::ListBackends, request, &page).fields, ElementsAre("page_token"));
}

TEST_P(ApiTest, GetSaysWhatIsMissing) {
  create_web(1);
  v1::GetBackendRequest request;
  v1::GetBackendResponse response;
  EXPECT_THAT(call(&Backends::GetBackend, request, &response).fields, ElementsAre("service", "id"));
  request.set_service("none");
  request.set_id("b1");
  EXPECT_EQ(call(&Backends::GetBackend, request, &response).reason, "SERVICE_NOT_FOUND");
  request.set_service("web");
  request.set_id("b2");
  const auto unknown = call(&Backends::GetBackend, request, &response);
  EXPECT_EQ(unknown.code, StatusCode::NOT_FOUND);
  EXPECT_EQ(unknown.reason, "BACKEND_NOT_FOUND");
  EXPECT_THAT(unknown.fields, ElementsAre("id"));
}

TEST_P(ApiTest, AFullServiceSaysWhenToComeBack) {
  create_web(0);
  for (int batch = 0; batch < 10; ++batch) {
    std::vector<v1::Backend> many;
    for (int i = 0; i < 1'000; ++i) {
      const int n = batch * 1'000 + i;
      many.push_back(
          backend("b" + std::to_string(n), host(batch + 1), static_cast<std::uint32_t>(1 + i)));
    }
    ASSERT_EQ(put("web", many).code, StatusCode::OK);
  }
  const auto full = put("web", {backend("more", host(50))});
  EXPECT_EQ(full.code, StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(full.reason, "BACKEND_LIMIT");
  EXPECT_GT(full.retry_seconds, 0);
}

}  // namespace
}  // namespace crab
