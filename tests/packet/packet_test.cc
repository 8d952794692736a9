// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "tests/packet/eal_environment.h"
#include "tests/packet/fixtures.h"

namespace crab::test {
namespace {

std::vector<Fixture> all_fixtures(Family family) {
  std::vector<Fixture> all;
  for (auto* theme : {redirect_fixtures, option_fixtures, header_fixtures, refusal_fixtures}) {
    for (auto& fixture : theme(family)) all.push_back(std::move(fixture));
  }
  return all;
}

// The law of docs/architecture.md.
void expect_conserved(const WorkerTotals& totals) {
  const auto n =
      std::accumulate(totals.n_verdicts.begin(), totals.n_verdicts.end(), std::uint64_t{0});
  EXPECT_EQ(totals.n_rx_packets, n);
}

class PacketTest : public ::testing::TestWithParam<Family> {};

TEST_P(PacketTest, Fixtures) {
  for (const Fixture& fixture : all_fixtures(GetParam())) {
    SCOPED_TRACE(fixture.name);
    World world;
    const auto result = world.send(fixture.input, fixture.nic_checksum_bad, fixture.headroom);
    EXPECT_EQ(name_of(result.verdict), name_of(fixture.verdict));
    if (fixture.output) {
      EXPECT_EQ(hex_dump(result.frame), hex_dump(*fixture.output));
    }
    if (result.verdict == Verdict::Redirected) {
      EXPECT_EQ(result.egress_port, 3);
    }
    EXPECT_EQ(result.delta.verdict(fixture.verdict), 1);
    EXPECT_EQ(result.delta.n_rx_packets, 1);
    EXPECT_EQ(result.delta.n_rx_bytes, fixture.input.size());
    expect_conserved(world.counters().read());
  }
}

// Every fixture of a family in bursts of 32: a packet's fate does not depend on its neighbours.
TEST_P(PacketTest, FixturesInOneBurst) {
  World world;
  std::vector<Fixture> batch;
  const auto flush = [&] {
    std::vector<Bytes> frames;
    for (const auto& fixture : batch) frames.push_back(fixture.input);
    const auto results = world.send_burst(frames);
    for (std::size_t i = 0; i < batch.size(); ++i) {
      EXPECT_EQ(name_of(results[i].verdict), name_of(batch[i].verdict)) << batch[i].name;
    }
    batch.clear();
  };
  for (Fixture& fixture : all_fixtures(GetParam())) {
    if (fixture.nic_checksum_bad || fixture.headroom != 128) continue;
    batch.push_back(std::move(fixture));
    if (batch.size() == kMaxBurst) flush();
  }
  flush();
  expect_conserved(world.counters().read());
}

// Whatever is cut off, and wherever, nothing is read or written outside (address sanitizer), and
// the verdict is never a redirect of half a packet.
TEST_P(PacketTest, EveryPrefixOfAPacket) {
  const Bytes whole = plain_syn(addresses(GetParam())).bytes();
  for (std::size_t length = 1; length < whole.size(); ++length) {
    World world;
    const auto result =
        world.send(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)));
    EXPECT_EQ(name_of(result.verdict), "truncated") << length;
  }
}

TEST_P(PacketTest, PartialChecksumIsCompleted) {
  const Addresses& a = addresses(GetParam());
  World world;
  world.complete_checksums(true);
  Frame in = plain_syn(a);
  in.payload = Bytes(7, 9);
  const Bytes expected = redirected(in, a).bytes();
  in.partial_checksum = true;
  EXPECT_EQ(hex_dump(world.send(in.bytes()).frame), hex_dump(expected));
  // For the host path too.
  in.destination_port = 81;
  Frame whole = in;
  whole.partial_checksum = false;
  EXPECT_EQ(hex_dump(world.send(in.bytes()).frame), hex_dump(whole.bytes()));
}

TEST_P(PacketTest, RetransmittedSynGoesToTheSameBackendAndCountsOnce) {
  const Addresses& a = addresses(GetParam());
  World world;
  Frame syn = plain_syn(a);
  const auto first = world.send(syn.bytes());
  // A retransmission's timestamp option and IP identification differ.
  syn.ip_id = 0x4321;
  syn.options = linux_options(0x01020999) + offer(a.plain_form);
  for (int i = 0; i < 3; ++i) {
    world.advance(1 << i);
    const auto again = world.send(syn.bytes());
    EXPECT_EQ(again.delta.n_recalled, 1);
    Frame expected = redirected(syn, a);
    expected.options = linux_options(0x01020999) + redirect(a.plain_form, kNode, a.plain, 80);
    EXPECT_EQ(hex_dump(again.frame), hex_dump(expected.bytes()));
  }
  EXPECT_EQ(world.counters().assigned_to_slot(0), 1);
  EXPECT_EQ(world.counters().assigned_to_slot(1), 0);
}

TEST_P(PacketTest, NewIsnIsANewConnection) {
  World world;
  Frame syn = plain_syn(addresses(GetParam()));
  world.send(syn.bytes());
  syn.sequence += 1;
  const auto second = world.send(syn.bytes());
  EXPECT_EQ(second.delta.n_recalled, 0);
  EXPECT_EQ(world.counters().assigned_to_slot(0), 1);
  EXPECT_EQ(world.counters().assigned_to_slot(1), 1);
}

TEST_P(PacketTest, TheSameSynTwiceInOneBurstIsPlacedOnce) {
  World world;
  const Bytes syn = plain_syn(addresses(GetParam())).bytes();
  const auto results = world.send_burst({syn, syn, syn});
  EXPECT_EQ(hex_dump(results[0].frame), hex_dump(results[1].frame));
  EXPECT_EQ(hex_dump(results[0].frame), hex_dump(results[2].frame));
  EXPECT_EQ(world.counters().assigned_to_slot(0) + world.counters().assigned_to_slot(1), 1);
}

TEST_P(PacketTest, DuplicatesFollowAnOriginalThatWasDropped) {
  World world;
  Frame syn = plain_syn(addresses(GetParam()));
  syn.destination = addresses(GetParam()).out_of_range;
  for (const auto& result : world.send_burst({syn.bytes(), syn.bytes()})) {
    EXPECT_EQ(name_of(result.verdict), "policy_range");
  }
  // And nothing of it is remembered.
  EXPECT_EQ(world.send(syn.bytes()).delta.n_recalled, 0);
}

TEST_P(PacketTest, RecallChoosesAgainWhenTheBackendIsGone) {
  const Addresses& a = addresses(GetParam());
  World world;
  const Bytes syn = plain_syn(a).bytes();
  world.send(syn);
  world.set_eligible({1});
  const auto again = world.send(syn);
  EXPECT_EQ(again.delta.n_recall_stale, 1);
  EXPECT_EQ(world.counters().assigned_to_slot(1), 1);
  // Backends change places, the slot stays: the choice is the slot's.
  world.set_eligible({0, 1});
  EXPECT_EQ(world.send(syn).frame, again.frame);
}

TEST_P(PacketTest, RecallForgetsAfterItsLifetime) {
  World world;
  const Bytes syn = plain_syn(addresses(GetParam())).bytes();
  world.send(syn);
  world.advance(RecentSyns::kLifetimeSeconds + 1);
  EXPECT_EQ(world.send(syn).delta.n_recalled, 0);
}

TEST_P(PacketTest, RoundRobinIsExactAcrossBursts) {
  World world;
  Frame syn = plain_syn(addresses(GetParam()));
  for (std::uint32_t sent = 0; sent < 990;) {
    std::vector<Bytes> burst;
    for (unsigned i = 0; i < 1 + sent % kMaxBurst && sent < 990; ++i, ++sent) {
      syn.sequence = sent;
      burst.push_back(syn.bytes());
    }
    world.send_burst(burst);
  }
  EXPECT_EQ(world.counters().assigned_to_slot(0), 495);
  EXPECT_EQ(world.counters().assigned_to_slot(1), 495);
  EXPECT_EQ(world.counters().assigned_to_service(GetParam() == Family::Ipv4 ? 0 : 5), 990);
}

TEST_P(PacketTest, AnswersAreLimited) {
  World world(/*answers_per_second=*/100);  // a tenth of a second's worth at once: 10
  Frame stray = plain_syn(addresses(GetParam()));
  stray.flags = ACK;
  unsigned n_answered = 0;
  for (int i = 0; i < 30; ++i) {
    n_answered += world.send(stray.bytes()).verdict == Verdict::NotSyn ? 1 : 0;
  }
  EXPECT_EQ(n_answered, 10);
  EXPECT_EQ(world.counters().read().verdict(Verdict::AnswerLimited), 20);
  world.advance(0.05);
  n_answered = 0;
  for (int i = 0; i < 30; ++i) {
    n_answered += world.send(stray.bytes()).verdict == Verdict::NotSyn ? 1 : 0;
  }
  EXPECT_EQ(n_answered, 5);
}

INSTANTIATE_TEST_SUITE_P(Families, PacketTest, ::testing::Values(Family::Ipv4, Family::Ipv6),
                         [](const auto& family) {
                           return family.param == Family::Ipv4 ? "Ipv4" : "Ipv6";
                         });

TEST(PacketCoverage, EveryVerdictHasAFixture) {
  // What only a full ring or queue can bring about is in tests/unit/lb/transmit_test.cc, and the
  // limit on answers is a test of its own above.
  std::set<Verdict> seen = {Verdict::HostFull, Verdict::TxFull, Verdict::AnswerLimited};
  std::set<std::string> names;
  for (const auto family : {Family::Ipv4, Family::Ipv6}) {
    names.clear();
    for (const auto& fixture : all_fixtures(family)) {
      seen.insert(fixture.verdict);
      EXPECT_TRUE(names.insert(fixture.name).second) << fixture.name;
    }
  }
  for (std::size_t v = 0; v < kVerdictCount; ++v) {
    EXPECT_TRUE(seen.contains(static_cast<Verdict>(v))) << name_of(static_cast<Verdict>(v));
  }
}

}  // namespace
}  // namespace crab::test
