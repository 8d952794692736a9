// SPDX-License-Identifier: Apache-2.0
// ServiceAdmin's changes, and Explain.
#include "tests/unit/control/api_fixture.h"

namespace crab {
namespace {

using grpc::StatusCode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class AdminTest : public ApiTest {
 protected:
  Outcome update(const v1::Service& service, const std::vector<std::string>& paths) {
    v1::UpdateServiceRequest request;
    *request.mutable_service() = service;
    for (const auto& path : paths) request.mutable_update_mask()->add_paths(path);
    return call(&Admin::UpdateService, request, &updated_);
  }
  Outcome maintain(const std::vector<std::string>& ids, bool on, const std::string& reason = "") {
    v1::SetMaintenanceRequest request;
    request.set_service("web");
    for (const auto& id : ids) request.add_ids(id);
    request.set_maintenance(on);
    request.set_reason(reason);
    return call(&Admin::SetMaintenance, request, &maintained_);
  }
  Outcome explain(const std::string& destination, std::uint32_t port) {
    v1::ExplainRequest request;
    request.set_source_address(host(99));
    request.set_source_port(40'000);
    request.set_destination_address(destination);
    request.set_destination_port(port);
    explained_.Clear();
    return call(&v1::StatsService::Stub::Explain, request, &explained_);
  }

  v1::UpdateServiceResponse updated_;
  v1::SetMaintenanceResponse maintained_;
  v1::ExplainResponse explained_;
};

INSTANTIATE_TEST_SUITE_P(Both, AdminTest, ::testing::ValuesIn(kServiceNets),
                         [](const auto& test) { return test.param.name; });

TEST_P(AdminTest, UpdateServiceChangesWhatTheMaskNames) {
  create_web(1);
  const std::string etag = services().services(0).etag();
  v1::Service change;
  change.set_name("web");
  change.set_min_healthy_percent(40);
  change.set_when_below(v1::WHEN_BELOW_NONE);
  change.mutable_policy()->set_name("random");
  change.mutable_slow_start()->set_ramp_seconds(30);
  change.set_etag(etag);
  ASSERT_EQ(update(change, {"min_healthy_percent", "when_below", "policy"}).code, StatusCode::OK);
  EXPECT_EQ(updated_.service().min_healthy_percent(), 40u);
  EXPECT_EQ(updated_.service().when_below(), v1::WHEN_BELOW_NONE);
  EXPECT_EQ(updated_.service().policy().name(), "random");
  EXPECT_FALSE(updated_.service().has_slow_start()) << "not in the mask";
  EXPECT_NE(updated_.service().etag(), etag);
  server_.on_strand([](FakeDataplane& dataplane) {
    EXPECT_EQ(dataplane.published.back().services[0].policy->name(), "random");
  });

  const auto stale = update(change, {"slow_start"});
  EXPECT_EQ(stale.code, StatusCode::ABORTED);
  EXPECT_EQ(stale.reason, "ETAG_MISMATCH");
  EXPECT_THAT(stale.fields, ElementsAre("service.etag"));
  change.clear_etag();
  ASSERT_EQ(update(change, {"slow_start"}).code, StatusCode::OK);
  EXPECT_EQ(updated_.service().slow_start().ramp_seconds(), 30u);
  const auto revision = updated_.revision();
  ASSERT_EQ(update(change, {"slow_start"}).code, StatusCode::OK);
  EXPECT_EQ(updated_.revision(), revision) << "a repetition";
}

TEST_P(AdminTest, UpdateServiceRefusesWhatCannotBe) {
  create_web(1);
  const auto before = state();
  v1::Service change;
  change.set_name("web");
  change.set_min_healthy_percent(101);
  change.mutable_policy()->set_name("best");
  change.set_port(81);
  EXPECT_THAT(update(change, {"port"}).fields, ElementsAre("update_mask"));
  EXPECT_THAT(update(change, {}).fields, ElementsAre("update_mask"));
  EXPECT_THAT(update(change, {"min_healthy_percent", "policy"}).fields,
              ElementsAre("service.policy.name", "service.min_healthy_percent"));
  change.set_name("none");
  EXPECT_EQ(update(change, {"policy"}).reason, "SERVICE_NOT_FOUND");
  v1::DeleteServiceRequest remove;
  remove.set_name("web");
  remove.set_etag("stale");
  v1::DeleteServiceResponse removed;
  EXPECT_EQ(call(&Admin::DeleteService, remove, &removed).reason, "ETAG_MISMATCH");
  EXPECT_EQ(state(), before);
}

TEST_P(AdminTest, MaintenanceStaysUntilItIsUndone) {
  create_web(2);
  ASSERT_EQ(maintain({"b1"}, true, "new disks").code, StatusCode::OK);
  ASSERT_EQ(maintained_.backends_size(), 1);
  EXPECT_EQ(maintained_.backends(0).status().state(), v1::BACKEND_STATE_MAINTENANCE);
  EXPECT_EQ(maintained_.backends(0).status().reason(), "in maintenance: new disks");
  ASSERT_EQ(put("web", {backend("b1", host(1))}).code, StatusCode::OK);
  EXPECT_EQ(get("b1").status().state(), v1::BACKEND_STATE_MAINTENANCE);
  EXPECT_EQ(stats().services(0).eligible_backends(), 1u);
  const auto unknown = maintain({"b1", "b9"}, false);
  EXPECT_EQ(unknown.code, StatusCode::NOT_FOUND);
  EXPECT_EQ(unknown.reason, "BACKEND_NOT_FOUND");
  EXPECT_THAT(unknown.fields, ElementsAre("ids[1]"));
  EXPECT_EQ(get("b1").status().state(), v1::BACKEND_STATE_MAINTENANCE);
  ASSERT_EQ(maintain({"b1"}, false).code, StatusCode::OK);
  EXPECT_TRUE(get("b1").status().eligible());
}

TEST_P(AdminTest, ExplainSaysWhoAndWhyOrThatItCannotBeTold) {
  create_web(2);
  ASSERT_EQ(maintain({"b2"}, true).code, StatusCode::OK);
  ASSERT_EQ(explain(GetParam().vip, 80).code, StatusCode::OK);
  EXPECT_EQ(explained_.service(), "web");
  EXPECT_EQ(explained_.choice(), "certain");
  EXPECT_EQ(explained_.backend(), "b1");
  EXPECT_EQ(explained_.policy(), "round_robin");
  EXPECT_THAT(explained_.reason(), HasSubstr("it is the first"));
  ASSERT_THAT(explained_.candidates(), SizeIs(2));
  EXPECT_TRUE(explained_.candidates(0).eligible());
  EXPECT_FALSE(explained_.candidates(1).eligible());
  EXPECT_EQ(explained_.candidates(1).reason(), "in maintenance");

  ASSERT_EQ(maintain({"b2"}, false).code, StatusCode::OK);
  ASSERT_EQ(explain(GetParam().vip, 80).code, StatusCode::OK);
  EXPECT_EQ(explained_.choice(), "open");
  EXPECT_EQ(explained_.backend(), "");
  EXPECT_THAT(explained_.reason(), HasSubstr("depends on the SYNs that come before"));

  ASSERT_EQ(maintain({"b1", "b2"}, true).code, StatusCode::OK);
  ASSERT_EQ(explain(GetParam().vip, 80).code, StatusCode::OK);
  EXPECT_EQ(explained_.choice(), "none");
  EXPECT_THAT(explained_.reason(), HasSubstr("no backend is eligible"));
  ASSERT_EQ(explain(GetParam().vip, 81).code, StatusCode::OK);
  EXPECT_EQ(explained_.service(), "");
  EXPECT_THAT(explained_.reason(), HasSubstr("RST"));
  ASSERT_EQ(explain(host(1), 80).code, StatusCode::OK);
  EXPECT_THAT(explained_.reason(), HasSubstr("not a virtual address"));
  EXPECT_THAT(explain(GetParam().of_the_other_family, 80).fields, ElementsAre("source_address"));
  EXPECT_THAT(explain("nowhere", 0).fields, ElementsAre("destination_address", "destination_port"));
}

}  // namespace
}  // namespace crab
