// SPDX-License-Identifier: Apache-2.0
// An agent's whole way: it attaches over gRPC, sends reports by UDP, and the loads show.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "crab/v1/agent.grpc.pb.h"
#include "kernel_patch/agent/load_report.h"
#include "tests/unit/control/free_port.h"
#include "tests/unit/control/service_fixture.h"

namespace crab {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class AgentServiceTest : public ::testing::TestWithParam<ServiceNet> {
 protected:
  static bool is_v6() { return std::string(GetParam().name) == "Ipv6"; }

  AgentServiceTest() {
    port_ = free_port(is_v6(), SOCK_DGRAM);
    listen_ = (is_v6() ? "[::1]:" : "127.0.0.1:") + std::to_string(port_);
    v1::Config config;
    auto* reports = config.mutable_load_reports();
    reports->add_listen(listen_);
    reports->set_heartbeat_ms(20);
    reports->set_min_silence_ms(3'600'000);
    config.mutable_agent()->add_allowed_prefixes("10.0.0.0/8");
    auto* web = config.add_services();
    web->set_name("web");
    web->set_address(GetParam().vip);
    web->set_port(80);
    if (!is_v6()) web->add_keys("000102030405060708090A0b0c0d0e0f");
    add(web, "b1", 1);
    add(web, "b2", 2);
    server_ = std::make_unique<TestServer>(config);
    server_->start();
    channel_ = grpc::CreateChannel(server_->listener(), grpc::InsecureChannelCredentials());
  }

  static std::string host(int i) { return GetParam().hosts + std::to_string(i); }
  static void add(v1::Service* service, const std::string& id, int i) {
    auto* backend = service->add_backends();
    backend->set_id(id);
    backend->set_address(host(i));
    backend->set_port(8080);
  }

  struct Stream {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::AttachResponse>> reader;
    v1::AttachResponse message;

    bool read() { return reader->Read(&message); }
    // After read() has returned false.
    grpc::Status end() {
      ended = true;
      return reader->Finish();
    }
    ~Stream() {
      if (ended) return;
      context.TryCancel();
      while (read()) continue;
      end();
    }
    bool ended = false;
  };
  std::unique_ptr<Stream> attach(const std::string& agent,
                                 const std::vector<std::string>& addresses) {
    auto stream = std::make_unique<Stream>();
    stream->context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
    v1::AttachRequest request;
    request.set_agent(agent);
    for (const auto& address : addresses) request.add_addresses(address);
    stream->reader = v1::AgentService::NewStub(channel_)->Attach(&stream->context, request);
    return stream;
  }

  void send(const v1::AttachResponse& told, std::uint64_t sequence, std::uint32_t open,
            std::uint8_t flags = CRAB_REPORT_EVENT) const {
    LoadReportKey key;
    std::copy(told.session_key().begin(), told.session_key().end(), key.begin());
    const LoadReportHeader header{.flags = flags,
                                  .node = static_cast<std::uint8_t>(told.node()),
                                  .session = told.session(),
                                  .nonce = told.nonce(),
                                  .boot_id = 1,
                                  .sequence = sequence,
                                  .interval_us = told.heartbeat_interval_us()};
    const LoadReportRecord record{.address = *IpAddress::parse(host(1)),
                                  .port = 8080,
                                  .open = open,
                                  .accepted_own = 7,
                                  .accepted_total = 9,
                                  .closed_total = 4};
    std::array<std::uint8_t, CRAB_REPORT_MAX_LEN> bytes;
    const auto n = encode_load_report(header, {&record, 1}, key, bytes);
    sockaddr_in6 to{};
    socklen_t length = sizeof to;
    to.sin6_family = AF_INET6;
    to.sin6_port = htons(port_);
    to.sin6_addr = in6addr_loopback;
    if (!is_v6()) {
      auto* four = reinterpret_cast<sockaddr_in*>(&to);
      four->sin_family = AF_INET;
      four->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      length = sizeof *four;
    }
    const int fd = socket(is_v6() ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(sendto(fd, bytes.data(), n, 0, reinterpret_cast<sockaddr*>(&to), length),
              static_cast<ssize_t>(n));
    close(fd);
  }

  v1::Backend backend(int i) {
    grpc::ClientContext context;
    v1::ListBackendsRequest request;
    v1::ListBackendsResponse response;
    request.set_service("web");
    EXPECT_TRUE(
        v1::BackendService::NewStub(channel_)->ListBackends(&context, request, &response).ok());
    return response.backends(i - 1);
  }
  v1::GetStatsResponse stats() {
    grpc::ClientContext context;
    v1::GetStatsResponse response;
    EXPECT_TRUE(v1::StatsService::NewStub(channel_)->GetStats(&context, {}, &response).ok());
    return response;
  }
  std::uint64_t refused(const std::string& reason) {
    const auto now = stats();
    for (const auto& refusal : now.load_reports().refusals()) {
      if (refusal.reason() == reason) return refusal.count();
    }
    ADD_FAILURE() << "no such reason: " << reason;
    return 0;
  }

  std::uint16_t port_ = 0;
  std::string listen_;
  std::unique_ptr<TestServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

INSTANTIATE_TEST_SUITE_P(Both, AgentServiceTest, ::testing::ValuesIn(kServiceNets),
                         [](const auto& test) { return test.param.name; });

TEST_P(AgentServiceTest, TellsAnAgentWhatItNeedsAndWhatHasChanged) {
  const auto stream = attach("host-1", {host(1), host(9)});
  ASSERT_TRUE(stream->read());
  const v1::AttachResponse first = stream->message;
  EXPECT_EQ(first.node(), 1u);
  EXPECT_EQ(first.report_address(), listen_);
  EXPECT_NE(first.session(), 0u);
  EXPECT_EQ(first.session_key().size(), 16u);
  EXPECT_EQ(first.heartbeat_interval_us(), 20'000u);
  EXPECT_EQ(first.coalescing_interval_us(), 1'000u);
  EXPECT_FALSE(first.report_accepts());
  EXPECT_THAT(first.allowed_prefixes(), ElementsAre("10.0.0.0/8"));
  ASSERT_EQ(first.services_size(), 1);
  EXPECT_EQ(first.services(0).name(), "web");
  EXPECT_EQ(first.services(0).address(), GetParam().vip);
  EXPECT_EQ(first.services(0).port(), 80u);
  EXPECT_EQ(first.services(0).option_form(), v1::OPTION_FORM_CRAB);
  if (!is_v6()) {
    EXPECT_THAT(first.services(0).keys(), ElementsAre("000102030405060708090a0b0c0d0e0f"));
  }
  ASSERT_EQ(first.backends_size(), 1);
  EXPECT_EQ(first.backends(0).address(), host(1));
  EXPECT_EQ(first.backends(0).port(), 8080u);

  grpc::ClientContext context;
  v1::RegisterBackendsRequest request;
  request.set_service("web");
  auto* more = request.add_backends();
  more->set_id("b9");
  more->set_address(host(9));
  more->set_port(81);
  v1::RegisterBackendsResponse response;
  ASSERT_TRUE(
      v1::BackendService::NewStub(channel_)->RegisterBackends(&context, request, &response).ok());
  ASSERT_TRUE(stream->read());
  EXPECT_EQ(stream->message.session(), first.session());
  EXPECT_EQ(stream->message.session_key(), first.session_key());
  ASSERT_EQ(stream->message.backends_size(), 2);
  EXPECT_EQ(stream->message.backends(1).address(), host(9));
  EXPECT_EQ(stream->message.backends(1).port(), 81u);
}

TEST_P(AgentServiceTest, ReportsShowAndAreRefusedWhenTheyMustBe) {
  const auto stream = attach("host-1", {host(1)});
  ASSERT_TRUE(stream->read());
  const v1::AttachResponse told = stream->message;
  EXPECT_EQ(backend(1).status().load().source(), v1::LOAD_SOURCE_ASSIGNED);
  EXPECT_FALSE(backend(1).status().load().has_report_age_seconds());
  send(told, 1, 5);
  ASSERT_TRUE(eventually([&] { return backend(1).status().load().open() == 5; }));
  const auto load = backend(1).status().load();
  EXPECT_EQ(load.source(), v1::LOAD_SOURCE_EVENT);
  EXPECT_EQ(load.accepted_own(), 7u);
  EXPECT_EQ(load.accepted_total(), 9u);
  EXPECT_EQ(load.closed_total(), 4u);
  EXPECT_TRUE(load.has_report_age_seconds());
  EXPECT_EQ(backend(2).status().load().source(), v1::LOAD_SOURCE_ASSIGNED);

  send(told, 1, 6);
  EXPECT_TRUE(eventually([&] { return refused("replayed") == 1; }));
  auto forged = told;
  forged.mutable_session_key()->at(3) ^= 1;
  send(forged, 2, 6);
  EXPECT_TRUE(eventually([&] { return refused("mac") == 1; }));
  forged = told;
  forged.set_nonce(told.nonce() + 1);
  send(forged, 2, 6);
  EXPECT_TRUE(eventually([&] { return refused("wrong_nonce") == 1; }));
  EXPECT_EQ(backend(1).status().load().open(), 5u);

  const auto service = stats().services(0);
  EXPECT_EQ(service.reporting_backends(), 1u);
  EXPECT_EQ(service.unreported_backends(), 1u);
  EXPECT_FALSE(service.path_suspected());
  EXPECT_TRUE(service.has_oldest_report_age_seconds());
  EXPECT_EQ(stats().load_reports().agents(), 1u);
  EXPECT_EQ(stats().load_reports().datagrams(), 4u);
  EXPECT_EQ(stats().load_reports().records(), 1u);

  send(told, 2, 6, CRAB_REPORT_GOODBYE);
  EXPECT_TRUE(
      eventually([&] { return backend(1).status().load().source() == v1::LOAD_SOURCE_ASSIGNED; }));
}

TEST_P(AgentServiceTest, AnotherAgentOfTheNameEndsTheFirstSession) {
  const auto first = attach("host-1", {host(1)});
  ASSERT_TRUE(first->read());
  const v1::AttachResponse told = first->message;
  const auto second = attach("host-1", {host(1)});
  ASSERT_TRUE(second->read());
  EXPECT_NE(second->message.session(), told.session());
  EXPECT_EQ(second->message.nonce(), told.nonce());
  EXPECT_FALSE(first->read());
  EXPECT_EQ(first->end().error_code(), grpc::StatusCode::ABORTED);
  send(told, 1, 5);
  EXPECT_TRUE(eventually([&] { return refused("unknown_session") == 1; }));
  send(second->message, 1, 6);
  EXPECT_TRUE(eventually([&] { return backend(1).status().load().open() == 6; }));
  EXPECT_EQ(stats().load_reports().agents(), 1u);
}

TEST_P(AgentServiceTest, AStreamThatEndsEndsTheSession) {
  {
    const auto stream = attach("host-1", {host(1)});
    ASSERT_TRUE(stream->read());
    EXPECT_EQ(stats().load_reports().agents(), 1u);
  }
  EXPECT_TRUE(eventually([&] { return stats().load_reports().agents() == 0; }));
}

TEST_P(AgentServiceTest, ABadRequestIsRefusedWithItsFields) {
  const auto stream = attach("a:b", {"127.0.0.1", "10.0.0.1", "10.0.0.1"});
  EXPECT_FALSE(stream->read());
  const auto outcome = outcome_of(stream->end());
  EXPECT_EQ(outcome.reason, "INVALID_FIELDS");
  EXPECT_THAT(outcome.fields, ElementsAre("agent", "addresses[0]", "addresses[2]"));
}

TEST_P(AgentServiceTest, TheServersEndEndsTheStreams) {
  const auto stream = attach("host-1", {host(1)});
  ASSERT_TRUE(stream->read());
  server_->stop();
  EXPECT_FALSE(stream->read());
  EXPECT_EQ(stream->end().error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace crab
