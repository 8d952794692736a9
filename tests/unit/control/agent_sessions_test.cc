// SPDX-License-Identifier: Apache-2.0
// What becomes of datagrams: taken, or refused for one reason and counted.
#include "control/agent_sessions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace crab {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Net {
  const char* name;
  const char* host;
  const char* other_host;
};

class AgentSessionsTest : public ::testing::TestWithParam<Net> {
 protected:
  static constexpr std::uint8_t kNode = 7;
  static constexpr std::uint32_t kSlot = 3;

  AgentSessionsTest() {
    View view;
    auto service = std::make_shared<ServiceRecord>();
    service->definition.name = "web";
    service->backends["b1"] = {.definition = {.address = address(GetParam().host), .port = 8080},
                               .load_slot = std::make_shared<const std::uint32_t>(kSlot)};
    view.services["web"] = service;
    sessions_.set_backends(view);
    session_ = sessions_.attach({address(GetParam().host)}).value();
  }

  static IpAddress address(const std::string& text) { return IpAddress::parse(text).value(); }
  LoadReportHeader header(std::uint64_t sequence) const {
    return {.flags = CRAB_REPORT_EVENT,
            .node = kNode,
            .session = session_.id,
            .nonce = sessions_.nonce(),
            .boot_id = 1,
            .sequence = sequence,
            .interval_us = 10'000};
  }
  static LoadReportRecord record(std::uint32_t open, const char* host = GetParam().host,
                                 std::uint16_t port = 8080) {
    return {.address = address(host),
            .port = port,
            .open = open,
            .accepted_own = 1,
            .accepted_total = 2,
            .closed_total = 0};
  }
  std::vector<std::uint8_t> encode(const LoadReportHeader& header,
                                   const std::vector<LoadReportRecord>& records) const {
    std::vector<std::uint8_t> bytes(CRAB_REPORT_MAX_LEN);
    bytes.resize(encode_load_report(header, records, session_.key, bytes));
    return bytes;
  }
  // The reasons of refusals that this datagram adds.
  std::vector<std::string> take(const std::vector<std::uint8_t>& datagram) {
    std::array<std::uint64_t, kNReportRefusals> before{};
    for (std::size_t i = 0; i < before.size(); ++i) before[i] = counters_.n_refused[i];
    changed_.clear();
    sessions_.receive(datagram, 1s, &changed_);
    std::vector<std::string> reasons;
    for (std::size_t i = 1; i < before.size(); ++i) {
      for (auto n = before[i]; n < counters_.n_refused[i]; ++n) {
        reasons.emplace_back(name_of_refusal(i));
      }
    }
    return reasons;
  }

  LoadTable loads_{{}, [](std::uint32_t) { return std::uint64_t{0}; }};
  ReportCounters counters_;
  AgentSessions sessions_{kNode, loads_, counters_};
  AgentSessions::Session session_;
  std::vector<std::uint32_t> changed_;
};

INSTANTIATE_TEST_SUITE_P(Both, AgentSessionsTest,
                         ::testing::Values(Net{"Ipv4", "10.0.0.11", "10.0.0.12"},
                                           Net{"Ipv6", "fd00::11", "fd00::12"}),
                         [](const auto& test) { return test.param.name; });

TEST_P(AgentSessionsTest, AReportReachesItsSlot) {
  EXPECT_THAT(take(encode(header(1), {record(5)})), IsEmpty());
  EXPECT_THAT(changed_, ElementsAre(kSlot));
  const auto load = loads_.load(kSlot);
  EXPECT_EQ(load.open, 5u);
  EXPECT_EQ(load.accepted_own, 1u);
  EXPECT_EQ(load.accepted_total, 2u);
  EXPECT_EQ(load.source, CRAB_LOAD_EVENT);
  EXPECT_EQ(counters_.n_datagrams, 1u);
  EXPECT_EQ(counters_.n_records, 1u);
}

TEST_P(AgentSessionsTest, ReplaysAndOvertakenReportsAreRefused) {
  EXPECT_THAT(take(encode(header(5), {record(5)})), IsEmpty());
  EXPECT_THAT(take(encode(header(5), {record(5)})), ElementsAre("replayed"));
  EXPECT_THAT(take(encode(header(4), {record(4)})), ElementsAre("reordered"));
  EXPECT_THAT(take(encode(header(4), {record(4)})), ElementsAre("replayed"));
  EXPECT_THAT(take(encode(header(6), {record(6)})), IsEmpty());
  EXPECT_THAT(take(encode(header(200), {record(7)})), IsEmpty());
  EXPECT_THAT(take(encode(header(5), {record(5)})), ElementsAre("replayed"));
  EXPECT_EQ(loads_.load(kSlot).open, 7u);
}

TEST_P(AgentSessionsTest, ForgeriesAreRefused) {
  for (std::size_t i = 0; i < encode(header(1), {record(5)}).size(); ++i) {
    auto forged = encode(header(1), {record(5)});
    forged[i] ^= 1;
    EXPECT_EQ(take(forged).size(), 1u) << "byte " << i;
    EXPECT_THAT(changed_, IsEmpty());
  }
  auto of_other_key = session_;
  of_other_key.key[0] ^= 1;
  std::swap(session_, of_other_key);
  const auto forged = encode(header(1), {record(5)});
  std::swap(session_, of_other_key);
  EXPECT_THAT(take(forged), ElementsAre("mac"));
  // And none of them has used up the sequence number.
  EXPECT_THAT(take(encode(header(1), {record(5)})), IsEmpty());
}

TEST_P(AgentSessionsTest, ReportsForOthersAreRefused) {
  auto other = header(1);
  other.node = kNode + 1;
  EXPECT_THAT(take(encode(other, {record(5)})), ElementsAre("wrong_node"));
  other = header(1);
  ++other.nonce;
  EXPECT_THAT(take(encode(other, {record(5)})), ElementsAre("wrong_nonce"));
  other = header(1);
  ++other.session;
  EXPECT_THAT(take(encode(other, {record(5)})), ElementsAre("unknown_session"));
  EXPECT_THAT(take({}), ElementsAre("length"));
  EXPECT_EQ(loads_.load(kSlot).n_reports, 0u);
}

TEST_P(AgentSessionsTest, ARecordOfAnAddressNotClaimedIsRefusedAndTheOthersAreTaken) {
  const auto reasons = take(encode(
      header(1), {record(1, GetParam().other_host), record(5), record(9, GetParam().host, 81)}));
  EXPECT_THAT(reasons, ElementsAre("unclaimed_address", "unknown_backend"));
  EXPECT_THAT(changed_, ElementsAre(kSlot));
}

TEST_P(AgentSessionsTest, AnAddressBelongsToWhoClaimedItLast) {
  const auto first = session_;
  session_ = sessions_.attach({address(GetParam().host)}).value();
  EXPECT_NE(session_.id, first.id);
  EXPECT_NE(session_.key, first.key);
  EXPECT_THAT(take(encode(header(1), {record(5)})), IsEmpty());
  const auto second = session_;
  session_ = first;
  EXPECT_THAT(take(encode(header(1), {record(6)})), ElementsAre("unclaimed_address"));
  sessions_.detach(first.id);  // takes nothing from the second
  EXPECT_THAT(take(encode(header(2), {record(6)})), ElementsAre("unknown_session"));
  session_ = second;
  EXPECT_THAT(take(encode(header(2), {record(7)})), IsEmpty());
  EXPECT_EQ(loads_.load(kSlot).open, 7u);
}

TEST_P(AgentSessionsTest, AGoodbyeEndsTheReports) {
  EXPECT_THAT(take(encode(header(1), {record(5)})), IsEmpty());
  auto goodbye = header(2);
  goodbye.flags |= CRAB_REPORT_GOODBYE;
  EXPECT_THAT(take(encode(goodbye, {record(5)})), IsEmpty());
  EXPECT_FALSE(loads_.reports(kSlot));
  EXPECT_THAT(changed_, ElementsAre(kSlot));
}

TEST_P(AgentSessionsTest, ThereAreOnlySoMany) {
  for (std::size_t n = sessions_.size(); n < kMaxAgents; ++n) {
    ASSERT_TRUE(sessions_.attach({}));
  }
  EXPECT_FALSE(sessions_.attach({}));
  EXPECT_EQ(counters_.n_agents, kMaxAgents);
  sessions_.detach(session_.id);
  EXPECT_TRUE(sessions_.attach({}));
}

}  // namespace
}  // namespace crab
