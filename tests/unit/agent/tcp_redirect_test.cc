// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/tcp_redirect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "fake_kernel.h"
#include "kernel_patch/agent/mapped_address.h"

namespace crab {
namespace {

using testing::HasSubstr;

constexpr std::uint16_t kFamily = 31;

const nlmsghdr* header_of(const Datagram& datagram) {
  return reinterpret_cast<const nlmsghdr*>(datagram.data());
}

Datagram counter(const char* name, std::uint64_t value, std::uint16_t flags = NLM_F_MULTI) {
  return record(
      kFamily,
      [=](nlmsghdr* header) {
        nlattr* nest = mnl_attr_nest_start(header, TCP_REDIRECT_A_COUNTER);
        mnl_attr_put_strz(header, TCP_REDIRECT_COUNTER_A_NAME, name);
        mnl_attr_put_u64(header, TCP_REDIRECT_COUNTER_A_VALUE, value);
        mnl_attr_nest_end(header, nest);
      },
      flags);
}

class TcpRedirect : public testing::Test {
 protected:
  void resolve() {
    exchanges_.answers.push_back({family("tcp_redirect", kFamily, 1), acknowledgement()});
    ASSERT_TRUE(netlink_.resolve());
  }
  void expect_answer(std::vector<Datagram> datagrams) {
    exchanges_.answers.push_back(std::move(datagrams));
  }

  Exchanges exchanges_;
  TcpRedirectNetlink netlink_{std::make_unique<FakeKernel>(&exchanges_)};
};

TEST_F(TcpRedirect, IsResolvedByName) {
  resolve();
  ASSERT_EQ(exchanges_.requests.size(), 1U);
  EXPECT_EQ(header_of(exchanges_.requests[0])->nlmsg_type, GENL_ID_CTRL);
  EXPECT_THAT(std::string(exchanges_.requests[0].begin(), exchanges_.requests[0].end()),
              HasSubstr("tcp_redirect"));
}

TEST_F(TcpRedirect, MayBeAbsent) {
  expect_answer({refusal(ENOENT)});
  EXPECT_FALSE(netlink_.resolve());
  try {
    netlink_.info();
    FAIL() << "info of nothing";
  } catch (const NetlinkRefusal& refused) {
    EXPECT_EQ(refused.error(), ENOENT);
  }
  EXPECT_EQ(exchanges_.requests.size(), 1U) << "nothing is asked of family 0";
}

TEST_F(TcpRedirect, OtherErrorsAreNotAbsence) {
  expect_answer({refusal(EPERM)});
  EXPECT_THROW(netlink_.resolve(), NetlinkRefusal);
}

TEST_F(TcpRedirect, AnotherVersionIsRefused) {
  expect_answer({family("tcp_redirect", kFamily, 2), acknowledgement()});
  try {
    netlink_.resolve();
    FAIL();
  } catch (const AgentError& error) {
    EXPECT_THAT(error.what(), HasSubstr("version 2, this crab-agent speaks version 1"));
  }
}

TEST_F(TcpRedirect, IsFoundAmongTheRegistered) {
  expect_answer({together({family("nlctrl", 16, 2), family("tcp_redirect", kFamily, 1)}), done()});
  EXPECT_TRUE(netlink_.find());
  EXPECT_EQ(header_of(exchanges_.requests[0])->nlmsg_flags, NLM_F_REQUEST | NLM_F_DUMP);
  expect_answer({together({family("nlctrl", 16, 2), family("tcp_redirect_2", 32, 1)}), done()});
  EXPECT_FALSE(netlink_.find());
}

TEST_F(TcpRedirect, ARefusalNamesTheAttribute) {
  resolve();
  EndpointConfig config;
  crab_service_key key{};
  key.vip = to_mapped(*IpAddress::parse("fd00::100"));
  key.port = 0x5000;
  crab_service terms{};
  terms.form = 12;
  config.services.emplace_back(key, terms);
  expect_answer({refusal(EINVAL, "the form is another family's", 64)});
  try {
    netlink_.set(CRAB_ROLE_CLIENT, config);
    FAIL();
  } catch (const NetlinkRefusal& refused) {
    EXPECT_STREQ(refused.what(),
                 "the kernel refuses the configuration: services[0] [fd00::100]:80: option_form: "
                 "the form is another family's (Invalid argument)");
    EXPECT_EQ(refused.error(), EINVAL);
  }
  const nlmsghdr* sent = header_of(exchanges_.requests.back());
  EXPECT_EQ(sent->nlmsg_type, kFamily);
  EXPECT_EQ(sent->nlmsg_flags, NLM_F_REQUEST | NLM_F_ACK);
  expect_answer({refusal(EPERM)});
  EXPECT_THROW(netlink_.set(0, {}), NetlinkRefusal) << "without words and offset";
  expect_answer({acknowledgement()});
  EXPECT_NO_THROW(netlink_.set(0, {}));
}

TEST_F(TcpRedirect, AListMayComeInPieces) {
  resolve();
  expect_answer({together({counter("offered", 3), counter("redirected", 2)}),
                 together({counter("refused", 1)}), done()});
  const std::vector<CounterReading> counters = netlink_.counters();
  ASSERT_EQ(counters.size(), 3U);
  EXPECT_EQ(counters[2].name, "refused");
}

TEST_F(TcpRedirect, AListThatChangedMeanwhileIsReadAgain) {
  resolve();
  expect_answer({counter("offered", 3, NLM_F_MULTI | NLM_F_DUMP_INTR), done()});
  expect_answer({counter("offered", 4), done(NLM_F_DUMP_INTR)});
  expect_answer({counter("offered", 5), done()});
  const std::vector<CounterReading> counters = netlink_.counters();
  ASSERT_EQ(counters.size(), 1U);
  EXPECT_EQ(counters[0].value, 5U);
}

TEST_F(TcpRedirect, AListMayEndInARefusal) {
  resolve();
  expect_answer({done(0, -EPERM)});
  EXPECT_THROW(netlink_.counters(), NetlinkRefusal);
}

TEST_F(TcpRedirect, AnswersToOthersArePassedOver) {
  resolve();
  Datagram late = counter("offered", 1);
  reinterpret_cast<nlmsghdr*>(late.data())->nlmsg_seq = 1000;
  expect_answer({late, counter("offered", 2), done()});
  const std::vector<CounterReading> counters = netlink_.counters();
  ASSERT_EQ(counters.size(), 1U);
  EXPECT_EQ(counters[0].value, 2U);
}

TEST_F(TcpRedirect, WhatIsNotUnderstoodIsSaid) {
  resolve();
  expect_answer({record(kFamily, [](nlmsghdr*) {}), acknowledgement()});
  EXPECT_THROW(netlink_.info(), AgentError);
  expect_answer({record(kFamily,
                        [](nlmsghdr* header) {
                          nlattr* nest = mnl_attr_nest_start(header, TCP_REDIRECT_A_COUNTER);
                          mnl_attr_put_strz(header, TCP_REDIRECT_COUNTER_A_NAME, "no value");
                          mnl_attr_nest_end(header, nest);
                        }),
                 done()});
  EXPECT_THROW(netlink_.counters(), AgentError);
}

}  // namespace
}  // namespace crab
