// SPDX-License-Identifier: Apache-2.0
// Next hops, with the kernel's tables written by hand. Each case runs for IPv4 and IPv6.
#include "lb/next_hop_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace crab {
namespace {

constexpr unsigned kCrab0 = 7;
constexpr unsigned kEth0 = 2;
constexpr MacAddress kPortMac{2, 0, 0, 0, 0, 1};
constexpr MacAddress kMacA{2, 0, 0, 0, 0, 0xA};
constexpr MacAddress kMacB{2, 0, 0, 0, 0, 0xB};

using Changes = std::vector<std::pair<IpAddress, NextHopState>>;

class NextHops : public testing::TestWithParam<Family> {
 protected:
  IpAddress host(unsigned n) const {
    const std::string number = std::to_string(n);
    return *IpAddress::parse(GetParam() == Family::Ipv4 ? "10.0.0." + number : "fd00::" + number);
  }
  std::string no_answer(const IpAddress& from) const {
    return (GetParam() == Family::Ipv4 ? "no ARP answer from "
                                       : "no neighbour advertisement from ") +
           from.to_string() + " on crab0";
  }
  Route direct(const IpAddress& address) const { return {kCrab0, address, {}}; }
  static NextHop reached(const MacAddress& mac) { return {mac, kPortMac, 3}; }

  NextHopTable table_{{{kCrab0, "crab0", 3, kPortMac, true}}};
};

TEST_P(NextHops, ABackendBecomesKnownWithItsNeighbour) {
  EXPECT_EQ(table_.want({host(11)}), std::vector{host(11)});
  EXPECT_TRUE(table_.take_changes().empty()) << "no state before its route is looked up";

  table_.set_route(host(11), direct(host(11)));
  EXPECT_EQ(table_.take_needed(), (std::vector<NeighborKey>{{kCrab0, host(11)}}));
  EXPECT_EQ(table_.take_changes(),
            (Changes{{host(11), {std::nullopt, no_answer(host(11)) + " yet"}}}));

  table_.set_neighbor({kCrab0, host(11)}, {Neighbor::State::Known, kMacA});
  EXPECT_EQ(table_.take_changes(), (Changes{{host(11), {reached(kMacA), {}}}}));
  EXPECT_TRUE(table_.take_changes().empty()) << "told once";
}

TEST_P(NextHops, FollowsANewMacAndALossAndTheReturn) {
  table_.want({host(11)});
  table_.set_route(host(11), direct(host(11)));
  table_.set_neighbor({kCrab0, host(11)}, {Neighbor::State::Known, kMacA});
  table_.take_changes();
  table_.set_neighbor({kCrab0, host(11)}, {Neighbor::State::Known, kMacB});
  EXPECT_EQ(table_.take_changes(), (Changes{{host(11), {reached(kMacB), {}}}}));
  table_.set_neighbor({kCrab0, host(11)}, {Neighbor::State::Failed, {}});
  EXPECT_EQ(table_.take_changes(), (Changes{{host(11), {std::nullopt, no_answer(host(11))}}}));
  // What was lost and is back before anybody looked is no change.
  table_.set_neighbor({kCrab0, host(11)}, {Neighbor::State::Known, kMacB});
  table_.set_neighbor({kCrab0, host(11)}, {Neighbor::State::Failed, {}});
  EXPECT_TRUE(table_.take_changes().empty());
}

TEST_P(NextHops, BackendsShareAGateway) {
  const Route by_gateway{kCrab0, host(1), {}};
  table_.want({host(11), host(12)});
  table_.set_route(host(11), by_gateway);
  table_.set_route(host(12), by_gateway);
  EXPECT_EQ(table_.take_needed(), (std::vector<NeighborKey>{{kCrab0, host(1)}})) << "asked once";
  table_.set_neighbor({kCrab0, host(1)}, {Neighbor::State::Known, kMacA});
  EXPECT_EQ(table_.take_changes().size(), 2U);

  table_.want({host(12)});
  EXPECT_TRUE(table_.take_released().empty()) << "host 12 still needs it";
  table_.want({});
  EXPECT_EQ(table_.take_released(), (std::vector<NeighborKey>{{kCrab0, host(1)}}));
  EXPECT_TRUE(table_.neighbors().empty());
}

TEST_P(NextHops, ANeighbourNeededAgainIsNotReleased) {
  table_.want({host(11)});
  table_.set_route(host(11), direct(host(11)));
  table_.take_needed();
  table_.want({});
  table_.want({host(11)});
  table_.set_route(host(11), direct(host(11)));
  EXPECT_EQ(table_.take_needed().size(), 1U);
  EXPECT_TRUE(table_.take_released().empty());
}

TEST_P(NextHops, SaysWhyARouteDoesNotDo) {
  table_.want({host(11), host(12)});
  table_.set_route(host(11), {0, {}, "no route"});
  table_.set_route(host(12), {kEth0, host(12), "routed through eth0, not a port of crab-lb"});
  Changes changes = table_.take_changes();
  std::ranges::sort(changes, {}, [](const auto& change) { return change.first; });
  EXPECT_EQ(changes,
            (Changes{{host(11), {std::nullopt, "no route"}},
                     {host(12), {std::nullopt, "routed through eth0, not a port of crab-lb"}}}));
  EXPECT_TRUE(table_.take_needed().empty()) << "no neighbour of another interface is ours to keep";
}

TEST_P(NextHops, FollowsARouteToAnotherNextHop) {
  table_.want({host(11)});
  table_.set_route(host(11), direct(host(11)));
  table_.set_neighbor({kCrab0, host(11)}, {Neighbor::State::Known, kMacA});
  table_.take_needed();
  table_.take_changes();

  table_.set_route(host(11), {kCrab0, host(1), {}});
  EXPECT_EQ(table_.take_released(), (std::vector<NeighborKey>{{kCrab0, host(11)}}));
  EXPECT_EQ(table_.take_needed(), (std::vector<NeighborKey>{{kCrab0, host(1)}}));
  table_.set_neighbor({kCrab0, host(11)}, {Neighbor::State::Known, kMacA});  // not its way any more
  EXPECT_EQ(table_.take_changes(),
            (Changes{{host(11), {std::nullopt, no_answer(host(1)) + " yet"}}}));
  table_.set_neighbor({kCrab0, host(1)}, {Neighbor::State::Known, kMacB});
  EXPECT_EQ(table_.take_changes(), (Changes{{host(11), {reached(kMacB), {}}}}));
}

TEST_P(NextHops, ALinkGoesDownAndComesBack) {
  table_.want({host(11)});
  table_.set_route(host(11), direct(host(11)));
  table_.set_neighbor({kCrab0, host(11)}, {Neighbor::State::Known, kMacA});
  table_.take_changes();
  EXPECT_FALSE(table_.set_link(kEth0, false)) << "not ours";
  EXPECT_TRUE(table_.set_link(kCrab0, false));
  EXPECT_EQ(table_.take_changes(), (Changes{{host(11), {std::nullopt, "crab0 is down"}}}));
  EXPECT_TRUE(table_.set_link(kCrab0, true));
  EXPECT_EQ(table_.take_changes(), (Changes{{host(11), {reached(kMacA), {}}}}));
}

TEST_P(NextHops, ABackendThatNobodyWantsHasNoState) {
  table_.want({host(11)});
  table_.set_route(host(11), direct(host(11)));
  table_.want({});
  table_.set_neighbor({kCrab0, host(11)}, {Neighbor::State::Known, kMacA});
  table_.set_route(host(11), direct(host(11)));
  EXPECT_TRUE(table_.take_changes().empty());
  EXPECT_TRUE(table_.take_needed().empty());
}

TEST_P(NextHops, FindsWhatAPrefixCovers) {
  table_.want({host(11), host(12), host(200)});
  const unsigned bits = GetParam() == Family::Ipv4 ? 32 : 128;
  EXPECT_EQ(table_.covered_by(host(11), bits), std::vector{host(11)});
  EXPECT_EQ(table_.covered_by(host(0), bits - 16).size(), 3U);
  EXPECT_EQ(table_.covered_by(host(0), 0).size(), 3U);
  // All but the last five bits: up to .31, or up to ::1f.
  auto low = table_.covered_by(host(8), bits - 5);
  std::ranges::sort(low);
  EXPECT_EQ(low, (std::vector{host(11), host(12)}));
  const IpAddress other = *IpAddress::parse(GetParam() == Family::Ipv4 ? "::" : "0.0.0.0");
  EXPECT_TRUE(table_.covered_by(other, 0).empty()) << "a prefix of the other family";
}

INSTANTIATE_TEST_SUITE_P(Families, NextHops, testing::Values(Family::Ipv4, Family::Ipv6),
                         [](const auto& family) {
                           return family.param == Family::Ipv4 ? "IPv4" : "IPv6";
                         });

}  // namespace
}  // namespace crab
