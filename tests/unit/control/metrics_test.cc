// SPDX-License-Identifier: Apache-2.0
#include "control/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <prometheus/collectable.h>
#include <prometheus/text_serializer.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/control/fake_dataplane.h"

namespace crab {
namespace {

using ::testing::HasSubstr;

class MetricsTest : public ::testing::Test {
 protected:
  MetricsTest() {
    v1::Config config;
    for (const auto& [name, vip, host] : {std::array{"web", "10.0.0.100", "10.0.0.11"},
                                          std::array{"web6", "fd00::100", "fd00::11"}}) {
      auto* service = config.add_services();
      service->set_name(name);
      service->set_address(vip);
      service->set_port(80);
      auto* backend = service->add_backends();
      backend->set_id("b1");
      backend->set_address(host);
      backend->set_port(8080);
    }
    manager_->start(config);
    io_.poll();
    dataplane_.set_down(*IpAddress::parse("fd00::11"), "no route");
    io_.restart();
    io_.poll();
  }

  boost::asio::io_context io_;
  FakeDataplane dataplane_;
  std::shared_ptr<Manager> manager_ = Manager::make(io_, dataplane_, 1);
};

TEST_F(MetricsTest, ShowWhatWorkersCounted) {
  const auto& web = *dataplane_.find("10.0.0.100");
  for (unsigned w = 0; w < 2; ++w) {
    auto& worker = dataplane_.counters_of(w);
    worker.pending().n_rx_packets = 5 + w;
    worker.pending().n_verdicts[static_cast<std::size_t>(Verdict::Redirected)] = 5 + w;
    worker.publish();
    worker.count_assignments(web.id, 5 + w);
    worker.count_assignment_to(web.eligible.at(0).load_slot);
    worker.count_refusal(web.id);
  }
  dataplane_.edge = {1, 2, 3, 4, 5};
  manager_->tick();
  const std::string text =
      prometheus::TextSerializer().Serialize(make_collector(manager_, dataplane_)->Collect());
  for (const char* line :
       {"crab_packets_received_total{worker=\"1\"} 6\n",
        "crab_packets_total{worker=\"0\",verdict=\"redirected\",class=\"redirected\"} 5\n",
        "crab_packets_total{worker=\"0\",verdict=\"fragment\",class=\"dropped\"} 0\n",
        "crab_service_assigned_connections_total{service=\"web\"} 11\n",
        "crab_service_refused_packets_total{service=\"web\"} 2\n",
        "crab_service_eligible_backends{service=\"web\"} 1\n",
        "crab_service_eligible_backends{service=\"web6\"} 0\n",
        "crab_backend_assigned_connections_total{service=\"web\",backend=\"b1\"} 2\n",
        "crab_backend_eligible{service=\"web6\",backend=\"b1\"} 0\n",
        "crab_publishes_total{result=\"applied\"} 3\n",
        "crab_publishes_total{result=\"stuck\"} 0\n",
        "crab_publish_duration_seconds_count 3\n",
        "crab_service_backends_by_report{service=\"web\",state=\"unreported\"} 1\n",
        "crab_service_report_path_suspected{service=\"web\"} 0\n",
        "crab_service_load_regret{service=\"web\"} 0\n",
        "crab_load_report_refusals_total{reason=\"replayed\"} 0\n",
        "crab_agents 0\n",
        "crab_packets_missed_total 1\n",
        "crab_to_linux_packets_total 2\n",
        "crab_to_linux_drops_total 3\n",
        "crab_from_linux_packets_total 4\n",
        "crab_from_linux_drops_total 5\n",
        "crab_revision 3\n",
        "crab_build_info{version=\""}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST_F(MetricsTest, ShowWhoWasRefused) {
  v1::GetAccessResponse access;
  auto* listener = access.add_listeners();
  listener->set_address("tcp:10.0.0.2:7470");
  listener->set_security(v1::ControlListener::SECURITY_INSECURE);
  listener->set_accepted_connections(5);
  auto* refused = listener->add_refused();
  refused->set_reason("expired");
  refused->set_connections(2);
  auto* denied = access.add_denied();
  denied->set_method("crab.v1.StatsService/GetStats");
  denied->set_reason("ROLE_FORBIDS");
  denied->set_calls(3);
  access.mutable_certificate()->set_not_after_unix_seconds(1'800'000'000);
  access.mutable_certificate()->set_client_ca_not_after_unix_seconds(1'900'000'000);
  access.mutable_certificate()->set_failed_reloads(4);
  const auto collector = make_collector(manager_, dataplane_, [&] { return access; });
  const std::string text = prometheus::TextSerializer().Serialize(collector->Collect());
  for (const char* line : {
           "crab_control_connections_accepted_total{listener=\"tcp:10.0.0.2:7470\"} 5",
           "crab_control_connections_refused_total{listener=\"tcp:10.0.0.2:7470\",reason="
           "\"expired\"} 2",
           "crab_control_insecure{listener=\"tcp:10.0.0.2:7470\"} 1",
           "crab_control_calls_denied_total{method=\"crab.v1.StatsService/GetStats\",reason=\"ROLE_"
           "FORBIDS\"} 3",
           "crab_control_certificate_not_after_seconds{file=\"certificate\"} 1800000000",
           "crab_control_certificate_not_after_seconds{file=\"client_ca\"} 1900000000",
           "crab_control_certificate_reloads_total{result=\"applied\"} 0",
           "crab_control_certificate_reloads_total{result=\"refused\"} 4",
       }) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST_F(MetricsTest, AreServedByHttp) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(bind(fd, generic, length), 0);
  ASSERT_EQ(getsockname(fd, generic, &length), 0);
  const std::string listen_on = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  // While the port is another's, there is one clear line.
  ASSERT_EQ(listen(fd, 1), 0);
  try {
    Metrics(listen_on, manager_, dataplane_);
    FAIL() << "it listens";
  } catch (const std::runtime_error& e) {
    EXPECT_THAT(e.what(), HasSubstr("metrics.listen " + listen_on + ": cannot listen"));
  }
  close(fd);

  const Metrics metrics(listen_on, manager_, dataplane_);
  const int client = socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_EQ(connect(client, generic, length), 0);
  const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
  ASSERT_EQ(write(client, request.data(), request.size()), static_cast<ssize_t>(request.size()));
  std::string answer;
  std::array<char, 4096> chunk;
  for (ssize_t n; (n = read(client, chunk.data(), chunk.size())) > 0;) {
    answer.append(chunk.data(), static_cast<std::size_t>(n));
  }
  close(client);
  EXPECT_THAT(answer, HasSubstr("200 OK"));
  EXPECT_THAT(answer, HasSubstr("crab_service_backends{service=\"web\"} 1\n"));
}

}  // namespace
}  // namespace crab
