// SPDX-License-Identifier: Apache-2.0
// What the API tells of the server itself: health, statistics, reflection; and how it behaves when
// the datapath does not follow, or ends.
#include <google/protobuf/dynamic_message.h>
#include <grpcpp/generic/generic_stub.h>

#include <thread>

#include "tests/unit/control/service_fixture.h"

namespace crab {
namespace {

using grpc::StatusCode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

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
    // gRPC itself cancels a call that arrives while the server shuts down.
    EXPECT_TRUE(outcome.code == StatusCode::UNAVAILABLE || outcome.code == StatusCode::CANCELLED)
        << outcome.code;
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
