// SPDX-License-Identifier: Apache-2.0
// What a node says, and the stream it says it on, against a node that the test plays.
#include "kernel_patch/agent/appliances.h"

#include <gmock/gmock.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <functional>

#include "kernel_patch/agent/mapped_address.h"

namespace crab {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

v1::AttachResponse example() {
  v1::AttachResponse response;
  response.set_node(7);
  response.set_report_address("[fd00::2]:7471");
  response.set_session(1);
  response.set_session_key(std::string(16, 'k'));
  response.set_nonce(3);
  response.set_heartbeat_interval_us(10'000);
  response.set_coalescing_interval_us(1000);
  response.set_report_accepts(true);
  v1::ReportedBackend* backend = response.add_backends();
  backend->set_address("10.0.0.11");
  backend->set_port(8080);
  v1::Service* service = response.add_services();
  service->set_name("web");
  service->set_address("10.0.0.100");
  service->set_port(80);
  return response;
}

std::string refusal_of(const std::function<void(v1::AttachResponse*)>& change) {
  v1::AttachResponse response = example();
  change(&response);
  try {
    session_terms_of(response);
    endpoint_config_of(response);
  } catch (const AgentError& error) {
    return error.what();
  }
  return {};
}

TEST(SessionTerms, AreWhatTheNodeSays) {
  const std::optional<SessionTerms> terms = session_terms_of(example());
  ASSERT_TRUE(terms);
  EXPECT_EQ(terms->node, 7);
  EXPECT_EQ(terms->report_to, SocketAddress::parse("[fd00::2]:7471"));
  EXPECT_EQ(terms->key[15], 'k');
  EXPECT_EQ(terms->heartbeat_interval, std::chrono::milliseconds(10));
  EXPECT_EQ(terms->coalescing_interval, std::chrono::milliseconds(1));
  EXPECT_TRUE(terms->report_accepts);
  EXPECT_THAT(terms->backends, ElementsAre(*SocketAddress::parse("10.0.0.11:8080")));
}

TEST(SessionTerms, ANodeMayTakeNoReports) {
  v1::AttachResponse response = example();
  response.clear_report_address();
  EXPECT_FALSE(session_terms_of(response));
}

TEST(SessionTerms, ErrorsNameTheField) {
  EXPECT_THAT(refusal_of([](auto* r) { r->set_node(256); }), HasSubstr("node: "));
  EXPECT_THAT(refusal_of([](auto* r) { r->set_report_address("lb:1"); }),
              HasSubstr("report_address: "));
  EXPECT_THAT(refusal_of([](auto* r) { r->set_session_key("short"); }), HasSubstr("session_key: "));
  EXPECT_THAT(refusal_of([](auto* r) { r->set_heartbeat_interval_us(0); }),
              HasSubstr("heartbeat_interval_us: "));
  EXPECT_THAT(refusal_of([](auto* r) { r->mutable_backends(0)->set_port(65536); }),
              HasSubstr("backends: "));
  EXPECT_THAT(refusal_of([](auto* r) { r->mutable_services(0)->set_address("x"); }),
              HasSubstr("services[0].address: "));
  EXPECT_THAT(refusal_of([](auto* r) { r->add_allowed_prefixes("10.0.0.1/8"); }),
              HasSubstr("allowed_prefixes[0]: "));
  EXPECT_EQ(refusal_of([](auto*) {}), "");
}

TEST(SessionTerms, OneSessionGoesOnUnderOtherTerms) {
  v1::AttachResponse response = example();
  const SessionTerms before = *session_terms_of(response);
  response.set_heartbeat_interval_us(50'000);
  response.clear_backends();
  EXPECT_TRUE(before.is_same_session(*session_terms_of(response)));
  response.set_nonce(4);
  EXPECT_FALSE(before.is_same_session(*session_terms_of(response)));
}

TEST(EndpointConfig, NodesAreMerged) {
  v1::AttachResponse one = example();
  one.add_allowed_prefixes("10.0.0.0/8");
  v1::AttachResponse other = example();
  other.mutable_services(0)->add_keys(std::string(32, 'a'));  // the same service
  *other.add_services() = one.services(0);
  other.mutable_services(1)->set_port(81);
  const EndpointConfig all = merged({endpoint_config_of(one), endpoint_config_of(other)});
  ASSERT_EQ(all.services.size(), 2U);
  EXPECT_EQ(all.services[0].second.n_keys, 0) << "the first is right";
  EXPECT_EQ(endpoint_text(all.services[1].first.vip, all.services[1].first.port), "10.0.0.100:81");
  EXPECT_EQ(all.prefixes.size(), 1U);
}

// A node that answers each request with one message and then holds the stream.
class FakeNode final : public v1::AgentService::Service {
 public:
  explicit FakeNode(const std::string& server) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(server, grpc::InsecureServerCredentials());
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FakeNode() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    // Time for the calls to end with their own status.
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(10));
  }

  grpc::Status Attach(grpc::ServerContext* context, const v1::AttachRequest* request,
                      grpc::ServerWriter<v1::AttachResponse>* writer) override {
    v1::AttachResponse response = example();
    response.set_report_address(request->agent() + "/" + std::to_string(request->addresses_size()));
    writer->Write(response);
    std::unique_lock lock(mutex_);
    while (!stopping_ && !context->IsCancelled()) {
      changed_.wait_for(lock, std::chrono::milliseconds(10));
    }
    return {grpc::StatusCode::UNAVAILABLE, "going away"};
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::unique_ptr<grpc::Server> server_;
};

// What the stream's thread tells, for the test's to wait on.
class Heard {
 public:
  NodeHandlers handlers() {
    return {.on_response = [this](const v1::AttachResponse& r) { add(r.report_address()); },
            .on_end = [this](const std::string& why) { add("end: " + why); }};
  }
  void add(const std::string& what) {
    const std::lock_guard lock(mutex_);
    all_.push_back(what);
    changed_.notify_all();
  }
  bool wait_for(const std::string& what) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(30), [&] {
      for (; next_ < all_.size(); ++next_) {
        if (all_[next_] == what) return true;
      }
      return false;
    });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> all_;
  std::size_t next_ = 0;
};

TEST(NodeStream, ComesBackWhenTheNodeDoes) {
  char directory[] = "/tmp/attach-XXXXXX";
  ASSERT_NE(mkdtemp(directory), nullptr);
  const std::string path = std::string(directory) + "/control.sock";
  auto node = std::make_unique<FakeNode>("unix:" + path);
  v1::AttachRequest request;
  request.set_agent("b1");
  Heard heard;
  NodeStream stream("unix:" + path, {}, request, heard.handlers());
  EXPECT_TRUE(heard.wait_for("b1/0"));
  node.reset();
  EXPECT_TRUE(heard.wait_for("end: going away"));
  node = std::make_unique<FakeNode>("unix:" + path);
  EXPECT_TRUE(heard.wait_for("b1/0"));

  request.add_addresses("10.0.0.11");
  stream.set_request(request);
  EXPECT_TRUE(heard.wait_for("b1/1")) << "attached anew with the other request";
  node.reset();
  unlink(path.c_str());
  rmdir(directory);
}

}  // namespace
}  // namespace crab
