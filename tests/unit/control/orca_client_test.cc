// SPDX-License-Identifier: Apache-2.0
// The ORCA client against a small server of it.
#include "control/orca_client.h"

#include <gmock/gmock.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>

#include "tests/unit/control/test_server.h"
#include "xds/service/orca/v3/orca.grpc.pb.h"

namespace crab {
namespace {

using xds::data::orca::v3::OrcaLoadReport;

TEST(OrcaLoad, IsTheMetricAsItIsOrInPerCent) {
  OrcaLoadReport report;
  report.set_cpu_utilization(0.25);
  report.set_application_utilization(1.5);
  (*report.mutable_named_metrics())["queue"] = 7.4;
  (*report.mutable_named_metrics())["odd"] = -1;
  (*report.mutable_named_metrics())["nan"] = std::numeric_limits<double>::quiet_NaN();
  (*report.mutable_named_metrics())["huge"] = 1e12;
  (*report.mutable_utilization())["disk"] = 0.5;
  EXPECT_EQ(orca_load(report, "cpu_utilization"), 25u);
  EXPECT_EQ(orca_load(report, "application_utilization"), 150u);
  EXPECT_EQ(orca_load(report, "queue"), 7u);
  EXPECT_EQ(orca_load(report, "disk"), 50u);
  for (const char* metric : {"odd", "nan", "huge", "missing"}) {
    EXPECT_FALSE(orca_load(report, metric)) << metric;
  }
}

// Reports `queue` as often as it is asked to.
class OrcaServer final : public xds::service::orca::v3::OpenRcaService::Service {
 public:
  explicit OrcaServer(const std::string& address, int wanted_port = 0) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address + ":" + std::to_string(wanted_port),
                             grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~OrcaServer() override { server_->Shutdown(std::chrono::system_clock::now()); }

  grpc::Status StreamCoreMetrics(grpc::ServerContext* context,
                                 const xds::service::orca::v3::OrcaLoadReportRequest* request,
                                 grpc::ServerWriter<OrcaLoadReport>* writer) override {
    interval_ms = request->report_interval().nanos() / 1'000'000;
    while (!context->IsCancelled() && !closing) {
      OrcaLoadReport report;
      if (with_metric) (*report.mutable_named_metrics())["queue"] = queue;
      if (!writer->Write(report)) break;
      std::this_thread::sleep_for(
          std::chrono::milliseconds(request->report_interval().nanos() / 1'000'000));
    }
    return closing ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "closing") : grpc::Status::OK;
  }

  int port = 0;
  std::atomic<int> interval_ms{0};
  std::atomic<int> queue{3};
  std::atomic<bool> with_metric{true};
  std::atomic<bool> closing{false};

 private:
  std::unique_ptr<grpc::Server> server_;
};

struct OrcaNet {
  const char* name;
  const char* address;
  const char* listen;
};

class OrcaClientTest : public ::testing::TestWithParam<OrcaNet> {
 protected:
  ~OrcaClientTest() override {
    io_.stop();
    thread_.join();
    client_.end();
  }

  View view_of(int port, const std::string& metric = "queue") const {
    auto service = std::make_shared<ServiceRecord>();
    service->definition.name = "web";
    service->definition.orca =
        OrcaSettings{.metric = metric, .port = 0, .interval = std::chrono::milliseconds(20)};
    service->backends["b1"] = {.definition = {.address = *IpAddress::parse(GetParam().address),
                                              .port = static_cast<std::uint16_t>(port)},
                               .load_slot = std::make_shared<const std::uint32_t>(5)};
    View view;
    view.services["web"] = service;
    return view;
  }
  void follow(const View& view) {
    std::promise<void> done;
    boost::asio::post(strand_, [&] {
      client_.follow(view);
      done.set_value();
    });
    done.get_future().wait();
  }
  bool is_load(std::uint32_t load) {
    return eventually([&] { return load_ == load; });
  }

  boost::asio::io_context io_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
      io_.get_executor()};
  OrcaClient::Strand strand_ = boost::asio::make_strand(io_);
  ReportCounters counters_;
  std::atomic<std::uint32_t> load_{~0U};
  std::atomic<bool> counted_{false};
  OrcaClient client_{strand_, counters_, [this](std::uint32_t slot, const LoadSample& sample) {
                       EXPECT_EQ(slot, 5u);
                       EXPECT_EQ(sample.interval, std::chrono::milliseconds(20));
                       counted_ = sample.counts.has_value();
                       load_ = sample.open;
                     }};
  std::thread thread_{[this] { io_.run(); }};
};

INSTANTIATE_TEST_SUITE_P(Both, OrcaClientTest,
                         ::testing::Values(OrcaNet{"Ipv4", "127.0.0.1", "127.0.0.1"},
                                           OrcaNet{"Ipv6", "::1", "[::1]"}),
                         [](const auto& test) { return test.param.name; });

TEST_P(OrcaClientTest, TakesWhatABackendStreams) {
  OrcaServer server(GetParam().listen);
  follow(view_of(server.port));
  EXPECT_TRUE(is_load(3));
  EXPECT_FALSE(counted_);
  EXPECT_EQ(server.interval_ms, 20);
  server.queue = 9;
  EXPECT_TRUE(is_load(9));
  EXPECT_GE(counters_.n_orca_reports, 2u);

  server.with_metric = false;
  EXPECT_TRUE(eventually([&] { return counters_.n_orca_unusable > 0; }));
  EXPECT_EQ(load_, 9u);
}

TEST_P(OrcaClientTest, BeginsAnewWhenTheStreamEndsOrTheServerIsBack) {
  auto server = std::make_unique<OrcaServer>(GetParam().listen);
  const int port = server->port;
  follow(view_of(port));
  ASSERT_TRUE(is_load(3));
  server->closing = true;
  ASSERT_TRUE(eventually([&] { return counters_.n_orca_ended > 0; }));
  server.reset();
  const auto n_ended = counters_.n_orca_ended.load();
  EXPECT_TRUE(eventually([&] { return counters_.n_orca_ended > n_ended; }));
  server = std::make_unique<OrcaServer>(GetParam().listen, port);
  ASSERT_EQ(server->port, port);
  server->queue = 4;
  EXPECT_TRUE(is_load(4));
}

TEST_P(OrcaClientTest, FollowsTheBackends) {
  OrcaServer first(GetParam().listen);
  OrcaServer second(GetParam().listen);
  second.queue = 8;
  follow(view_of(first.port));
  ASSERT_TRUE(is_load(3));
  follow(view_of(second.port));
  EXPECT_TRUE(is_load(8));
  first.queue = 1;
  follow({});
  const auto n_reports = counters_.n_orca_reports.load();
  first.queue = 2;
  second.queue = 2;
  // What was on its way at most.
  EXPECT_LE(counters_.n_orca_reports, n_reports + 1);
  EXPECT_EQ(load_, 8u);
}

TEST_P(OrcaClientTest, ATargetThatIsNotThereIsTriedAgainUntilItIsDropped) {
  follow(view_of(1));
  EXPECT_TRUE(eventually([&] { return counters_.n_orca_ended >= 2; }));
  follow({});
}

}  // namespace
}  // namespace crab
