// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/status.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernel_patch/agent/mapped_address.h"
#include "kernel_patch/agent/session_status.h"

namespace crab {
namespace {

using testing::HasSubstr;
using testing::Not;

Status example() {
  Status status;
  status.endpoint.interfaces = {"eth0", "eth1"};
  status.endpoint.offers = true;
  crab_service_key key{};
  key.vip = to_mapped(*IpAddress::parse("fd00::100"));
  key.port = htons(443);
  crab_service terms{};
  terms.form = CRAB_OPT_LEN_TAG;
  terms.n_keys = 1;
  terms.keys[0][0] = 0xd0;
  terms.keys[0][1] = 0x0d;
  status.endpoint.services.emplace_back(key, terms);
  status.endpoint.prefixes.push_back(to_mapped(*Prefix::parse("10.0.0.0/8")));
  status.endpoint.flows = {.n_open = 1, .n_closing = 2};
  status.endpoint.counters = {{"redirected", "SYN-ACKs that passed", 3},
                              {"reject_tag", "wrong", 0}};
  crab_tuple tuple{};
  tuple.local = to_mapped(*IpAddress::parse("fd00::21"));
  tuple.lport = htons(40000);
  tuple.remote = key.vip;
  tuple.rport = key.port;
  crab_flow flow{};
  flow.state = CRAB_FLOW_CURRENT;  // the second target
  flow.target[1].addr = to_mapped(*IpAddress::parse("fd00::11"));
  flow.target[1].port = htons(8080);
  status.endpoint.flow_list.emplace_back(tuple, flow);
  status.loads.push_back({*SocketAddress::parse("[fd00::11]:8080"),
                          {.accepted = 9, .closed = 5, .lingering = 1},
                          {{200, 8}}});
  status.now_ns = 60'000'000'000;
  crab_session session{};
  set_text(session.appliance, "unix:/run/crab/control.sock");
  set_text(session.report_address, "10.0.0.2:7471");
  set_text(session.last_error, "a \"quoted\" word");
  session.state = CRAB_SESSION_ATTACHED;
  session.node = 200;
  session.n_backends = 1;
  session.n_reports = 12;
  session.n_event_reports = 2;
  session.n_send_failures = 3;
  session.seen_ns = status.now_ns;
  status.nodes.push_back(session);
  return status;
}

TEST(Status, TableShowsLoadAndNodes) {
  const std::string table = status_table(example());
  EXPECT_THAT(table, HasSubstr("backend     [fd00::11]:8080  5 open, 9 accepted, 5 closed, 8 from "
                               "node 200\n"));
  EXPECT_THAT(table, HasSubstr("node        unix:/run/crab/control.sock  attached to node 200, 1 "
                               "backends to 10.0.0.2:7471: 12 reports, 2 on events, 3 failed"));
}

TEST(Status, JsonShowsLoadAndNodes) {
  const std::string json = status_json(example());
  EXPECT_THAT(json, HasSubstr(R"("open": 5, "accepted": 9, "closed": 5, "lingering": 1, )"
                              R"("accepted_by_node": {"200": 8})"));
  EXPECT_THAT(json, HasSubstr(R"("state": "attached", "node": 200)"));
  EXPECT_THAT(json, HasSubstr(R"("last_error": "a \"quoted\" word")"));
}

TEST(Status, ADeadAgentIsNotAttached) {
  Status status = example();
  status.nodes[0].seen_ns -= 10'000'000'000;
  EXPECT_THAT(status_json(status), HasSubstr(R"("state": "no agent")"));
}

TEST(Status, TableShowsWhatMovedAndNoKey) {
  const std::string table = status_table(example());
  EXPECT_THAT(table, HasSubstr("interfaces  eth0, eth1\n"));
  EXPECT_THAT(table, HasSubstr("service     [fd00::100]:443  form tag, keyed\n"));
  EXPECT_THAT(table, HasSubstr("allowed     10.0.0.0/8\n"));
  EXPECT_THAT(table, HasSubstr("flows       1 open, 2 closing\n"));
  EXPECT_THAT(table, HasSubstr("[fd00::21]:40000 -> [fd00::100]:443 at [fd00::11]:8080\n"));
  EXPECT_THAT(table, HasSubstr("3  redirected "));
  EXPECT_THAT(table, Not(HasSubstr("reject_tag")));
  EXPECT_THAT(table, Not(HasSubstr("d00d")));
}

TEST(Status, JsonHasEveryCounterAndNoKey) {
  const std::string json = status_json(example());
  EXPECT_THAT(json, HasSubstr(R"({"service": "[fd00::100]:443", "form": "tag", "keyed": true})"));
  EXPECT_THAT(json, HasSubstr("\"redirected\": 3"));
  EXPECT_THAT(json, HasSubstr("\"reject_tag\": 0"));
  EXPECT_THAT(json, Not(HasSubstr("d00d")));
}

TEST(MappedAddress, RoundTrips) {
  for (const char* text : {"10.0.0.1", "fd00::1", "::1"}) {
    EXPECT_EQ(from_mapped(to_mapped(*IpAddress::parse(text))).to_string(), text);
  }
}

}  // namespace
}  // namespace crab
