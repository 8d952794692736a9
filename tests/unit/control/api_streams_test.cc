// SPDX-License-Identifier: Apache-2.0
// WatchBackends and LeaseService over a real socket.
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

// A watch, read one message at a time.
class Watch {
 public:
  Watch(const std::shared_ptr<grpc::Channel>& channel, const v1::WatchBackendsRequest& request)
      : stub_(channel) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
    reader_ = stub_.WatchBackends(&context_, request);
  }
  ~Watch() {
    context_.TryCancel();
    if (!finished_) finish();
  }
  bool next() { return reader_->Read(&message); }
  // Up to the marker; how many there were before it.
  std::size_t read_snapshot() {
    std::size_t n = 0;
    while (next() && !message.has_marker()) ++n;
    EXPECT_TRUE(message.has_marker());
    marker = message;
    return n;
  }
  // Up to an event of which the condition holds; false if the stream ends before.
  template <typename Condition>
  bool read_until(Condition condition) {
    std::uint64_t last = message.revision();
    while (next()) {
      EXPECT_GE(message.revision(), last) << "out of order";
      last = message.revision();
      if (condition(message)) return true;
    }
    return false;
  }
  grpc::Status finish() {
    finished_ = true;
    return reader_->Finish();
  }

  v1::WatchBackendsResponse message;
  v1::WatchBackendsResponse marker;

 private:
  v1::BackendService::Stub stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::WatchBackendsResponse>> reader_;
  bool finished_ = false;
};

class WatchTest : public ApiTest {
 protected:
  static v1::WatchBackendsRequest of(const std::string& service) {
    v1::WatchBackendsRequest request;
    request.set_service(service);
    return request;
  }
};

INSTANTIATE_TEST_SUITE_P(Both, WatchTest, ::testing::ValuesIn(kServiceNets),
                         [](const auto& test) { return test.param.name; });

TEST_P(WatchTest, WhatThereIsThenAMarkerThenEveryChange) {
  create_web(2);
  ASSERT_EQ(create(service("other", GetParam().other_vip)).code, StatusCode::OK);
  Watch watch(channel_, of("web"));
  ASSERT_EQ(watch.read_snapshot(), 2u);
  EXPECT_FALSE(watch.marker.marker().resumed());
  EXPECT_FALSE(watch.marker.marker().instance().empty());

  ASSERT_EQ(put("other", {backend("x", host(30))}).code, StatusCode::OK);
  ASSERT_EQ(put("web", {backend("b3", host(3))}).code, StatusCode::OK);
  const auto registered = registered_.revision();
  ASSERT_TRUE(watch.next());
  EXPECT_EQ(watch.message.changed().service(), "web") << "another service's are not told";
  EXPECT_EQ(watch.message.changed().backend().id(), "b3");
  EXPECT_EQ(watch.message.revision(), registered);
  ASSERT_TRUE(watch.read_until([](const auto& message) {
    return message.changed().backend().status().state() == v1::BACKEND_STATE_HEALTHY;
  }));
  EXPECT_TRUE(watch.message.changed().backend().status().eligible());

  // Safe to terminate, or not: an event.
  v1::DrainBackendsRequest drain;
  drain.set_service("web");
  drain.add_ids("b3");
  drain.set_drain_timeout_seconds(0);
  v1::DrainBackendsResponse drained;
  ASSERT_EQ(call(&Backends::DrainBackends, drain, &drained).code, StatusCode::OK);
  ASSERT_TRUE(watch.read_until([](const auto& message) {
    return message.changed().backend().status().state() == v1::BACKEND_STATE_DRAINED;
  }));
  const auto& status = watch.message.changed().backend().status();
  EXPECT_EQ(status.drain().drained_by(), v1::DRAINED_BY_DEADLINE);
  ASSERT_EQ(remove("web", {"b3"}).code, StatusCode::OK);
  ASSERT_TRUE(watch.read_until([](const auto& message) { return message.has_removed(); }));
  EXPECT_EQ(watch.message.removed().backend().id(), "b3");
  ASSERT_EQ(destroy("web").code, StatusCode::OK);
  ASSERT_TRUE(watch.read_until([](const auto& message) {
    return message.has_removed() && message.removed().backend().id() == "b2";
  }));
}

TEST_P(WatchTest, AStreamIsResumedWhereItEnded) {
  create_web(1);
  v1::WatchBackendsRequest resume = of("");
  {
    Watch watch(channel_, resume);
    EXPECT_EQ(watch.read_snapshot(), 1u);
    resume.set_resume_revision(watch.marker.revision());
    resume.set_resume_instance(watch.marker.marker().instance());
  }
  ASSERT_EQ(put("web", {backend("b2", host(2))}).code, StatusCode::OK);
  ASSERT_EQ(remove("web", {"b1"}).code, StatusCode::OK);
  Watch watch(channel_, resume);
  EXPECT_EQ(watch.read_snapshot(), 0u);
  EXPECT_TRUE(watch.marker.marker().resumed());
  ASSERT_TRUE(watch.read_until(
      [](const auto& message) { return message.changed().backend().id() == "b2"; }));
  ASSERT_TRUE(watch.read_until([](const auto& message) { return message.has_removed(); }));
  EXPECT_EQ(watch.message.removed().backend().id(), "b1");

  // Of another life, or of what is to come: a new snapshot, which says so.
  auto other = resume;
  other.set_resume_instance("another");
  Watch anew(channel_, other);
  EXPECT_EQ(anew.read_snapshot(), 1u);
  EXPECT_FALSE(anew.marker.marker().resumed());
  other = resume;
  other.set_resume_revision(1'000'000);
  Watch future(channel_, other);
  EXPECT_EQ(future.read_snapshot(), 1u);
  EXPECT_FALSE(future.marker.marker().resumed());
}

TEST_P(WatchTest, WhoAsksForNothingThatIsThereIsTold) {
  Watch unknown(channel_, of("none"));
  EXPECT_FALSE(unknown.next());
  EXPECT_EQ(outcome_of(unknown.finish()).reason, "SERVICE_NOT_FOUND");
  Watch bad(channel_, of("No Name"));
  EXPECT_FALSE(bad.next());
  EXPECT_THAT(outcome_of(bad.finish()).fields, ElementsAre("service"));
}

TEST_P(WatchTest, AClientThatDoesNotReadIsCutOff) {
  create_web(0);
  ASSERT_EQ(create(service("second", GetParam().other_vip)).code, StatusCode::OK);
  // A window that does not grow with what is sent: otherwise the client's library takes in
  // megabytes.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 65'536);
  const auto channel =
      grpc::CreateCustomChannel(server_.listener(), grpc::InsecureChannelCredentials(), arguments);
  Watch watch(channel, of(""));
  EXPECT_EQ(watch.read_snapshot(), 0u);
  for (const char* name : {"web", "second"}) {
    for (int batch = 0; batch < 10; ++batch) {
      std::vector<v1::Backend> many;
      for (int i = 0; i < 1'000; ++i) {
        many.push_back(backend("b" + std::to_string(batch) + "-" + std::to_string(i),
                               host(batch + 1), static_cast<std::uint32_t>(1 + i)));
      }
      ASSERT_EQ(put(name, many).code, StatusCode::OK);
    }
  }
  EXPECT_TRUE(eventually([&] { return stats().control().slow_watchers() == 1; }));
  while (watch.next()) continue;
  const auto outcome = outcome_of(watch.finish());
  EXPECT_EQ(outcome.code, StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(outcome.reason, "SLOW_CONSUMER");
  EXPECT_GT(outcome.retry_seconds, 0);
  // The others never noticed.
  Watch next(channel_, of("web"));
  EXPECT_EQ(next.read_snapshot(), 10'000u);
}

TEST_P(WatchTest, ConcurrentChangesReachEveryWatcher) {
  create_web(0);
  constexpr int kWatchers = 3;
  constexpr int kBackends = 60;
  std::vector<std::unique_ptr<Watch>> watches;
  for (int i = 0; i < kWatchers; ++i) {
    watches.push_back(std::make_unique<Watch>(channel_, of("web")));
    watches.back()->read_snapshot();
  }
  std::vector<std::thread> writers;
  for (int t = 0; t < 3; ++t) {
    writers.emplace_back([&, t] {
      v1::BackendService::Stub stub(channel_);
      for (int i = t; i < kBackends; i += 3) {
        const auto request = register_request({backend("b" + std::to_string(i), host(i))});
        grpc::ClientContext context;
        v1::RegisterBackendsResponse response;
        EXPECT_TRUE(stub.RegisterBackends(&context, request, &response).ok());
      }
    });
  }
  for (auto& writer : writers) writer.join();
  for (auto& watch : watches) {
    std::map<std::string, v1::BackendState> seen;
    EXPECT_TRUE(watch->read_until([&](const auto& message) {
      seen[message.changed().backend().id()] = message.changed().backend().status().state();
      return seen.size() == kBackends && std::all_of(seen.begin(), seen.end(), [](const auto& one) {
               return one.second == v1::BACKEND_STATE_HEALTHY;
             });
    }));
  }
}

TEST_P(WatchTest, ServersEndEndsTheStreams) {
  create_web(1);
  Watch watch(channel_, of("web"));
  watch.read_snapshot();
  server_.stop();
  EXPECT_FALSE(watch.next());
  EXPECT_EQ(watch.finish().error_code(), StatusCode::UNAVAILABLE);
}

TEST_P(WatchTest, LeasesAreKeptAliveOverAStream) {
  create_web(0);
  ASSERT_EQ(grant("mine", 3'600'000, v1::ON_EXPIRY_DRAIN).code, StatusCode::OK);
  auto leased = backend("b1", host(1));
  leased.set_lease_id("mine");
  ASSERT_EQ(put("web", {leased}).code, StatusCode::OK);
  v1::LeaseService::Stub stub(channel_);
  grpc::ClientContext context;
  const auto stream = stub.KeepAlive(&context);
  v1::KeepAliveRequest request;
  v1::KeepAliveResponse response;
  request.set_lease_id("mine");
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(stream->Write(request));
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_FALSE(response.gone());
    EXPECT_EQ(response.lease().ttl_ms(), 3'600'000u);
    EXPECT_GT(response.lease().expires().seconds(), 0);
  }
  v1::RevokeLeaseRequest revoke;
  revoke.set_lease_id("mine");
  v1::RevokeLeaseResponse revoked;
  ASSERT_EQ(call(&Leases::RevokeLease, revoke, &revoked).code, StatusCode::OK);
  ASSERT_TRUE(stream->Write(request));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_TRUE(response.gone());
  EXPECT_EQ(response.lease_id(), "mine");
  ASSERT_TRUE(stream->WritesDone());
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(get("b1").status().state(), v1::BACKEND_STATE_DRAINING);
  EXPECT_EQ(call(&Leases::RevokeLease, revoke, &revoked).reason, "LEASE_NOT_FOUND");
}

TEST_P(WatchTest, AnExpiredLeaseDrainsItsBackends) {
  create_web(1);
  ASSERT_EQ(grant("short", 500, v1::ON_EXPIRY_MARK_UNHEALTHY).code, StatusCode::OK);
  auto leased = backend("b2", host(2));
  leased.set_lease_id("short");
  ASSERT_EQ(put("web", {leased}).code, StatusCode::OK);
  ASSERT_TRUE(eventually([&] { return get("b2").status().reason() == "lease expired"; }));
  EXPECT_EQ(get("b2").status().state(), v1::BACKEND_STATE_UNHEALTHY);
  ASSERT_THAT(leases().leases(), SizeIs(1));
  EXPECT_TRUE(leases().leases(0).expired());
  EXPECT_EQ(stats().control().expired_leases(), 1u);
  ASSERT_EQ(grant("short", 500, v1::ON_EXPIRY_MARK_UNHEALTHY).code, StatusCode::OK);
  EXPECT_TRUE(eventually([&] { return get("b2").status().eligible(); }) ||
              get("b2").status().reason() == "lease expired");
}

TEST_P(WatchTest, LeasesRefuseWhatIsWrong) {
  const auto bad = grant("no id", 1, static_cast<v1::OnExpiry>(9));
  EXPECT_EQ(bad.code, StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(bad.fields, ElementsAre("lease.id", "lease.ttl_ms", "lease.on_expiry"));
  v1::GrantLeaseRequest request;
  request.mutable_lease()->set_ttl_ms(60'000);
  v1::GrantLeaseResponse response;
  ASSERT_EQ(call(&Leases::GrantLease, request, &response).code, StatusCode::OK);
  EXPECT_THAT(response.lease().id(), HasSubstr("lease-"));
  EXPECT_EQ(grant(response.lease().id(), 70'000, v1::ON_EXPIRY_DRAIN).reason, "LEASE_EXISTS");
  create_web(0);
  auto leased = backend("b1", host(1));
  leased.set_lease_id("none");
  const auto unknown = put("web", {leased});
  EXPECT_EQ(unknown.code, StatusCode::NOT_FOUND);
  EXPECT_THAT(unknown.fields, ElementsAre("backends[0].lease_id"));
  v1::ReleaseFreezeRequest release;
  v1::ReleaseFreezeResponse released;
  EXPECT_THAT(call(&Admin::ReleaseFreeze, release, &released).fields, ElementsAre("service"));
  release.set_service("none");
  EXPECT_EQ(call(&Admin::ReleaseFreeze, release, &released).reason, "SERVICE_NOT_FOUND");
  release.set_service("web");
  EXPECT_EQ(call(&Admin::ReleaseFreeze, release, &released).code, StatusCode::OK);
  EXPECT_EQ(released.expired_leases(), 0u);
}

}  // namespace
}  // namespace crab
