// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <thread>

#include "policies/registry.h"

namespace crab {
namespace {

std::vector<crab_policy_backend> backends(const std::vector<std::uint32_t>& weights) {
  static const std::vector<std::string> ids = [] {
    std::vector<std::string> all;
    for (unsigned i = 0; i < 65'536; ++i) all.push_back("backend-" + std::to_string(i));
    return all;
  }();
  std::vector<crab_policy_backend> out;
  for (std::uint32_t i = 0; i < weights.size(); ++i) {
    out.push_back({ids[i].c_str(), i, weights[i]});
  }
  return out;
}

std::vector<std::uint64_t> count_picks(const PolicySet& set, std::size_t n_backends,
                                       std::uint64_t n_picks, std::uint64_t seed = 1) {
  std::vector<std::uint64_t> counts(n_backends);
  std::vector<crab_policy_flow> flows(32);
  std::vector<std::uint32_t> picks(32);
  std::uint64_t x = seed;
  for (std::uint64_t done = 0; done < n_picks;) {
    const std::size_t n = std::min<std::uint64_t>(1 + done % 32, n_picks - done);
    for (std::size_t i = 0; i < n; ++i) {
      x += 0x9E3779B97F4A7C15ULL;  // splitmix64 (Steele, Lea, Flood, 2014)
      std::uint64_t z = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
      z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
      flows[i].hash = z ^ (z >> 31);
    }
    set.pick({flows.data(), n}, {picks.data(), n});
    for (std::size_t i = 0; i < n; ++i) ++counts.at(picks[i]);
    done += n;
  }
  return counts;
}

class EveryPolicy : public ::testing::TestWithParam<const crab_policy_ops*> {};

TEST_P(EveryPolicy, KeepsToTheAbi) {
  const auto& ops = *GetParam();
  EXPECT_EQ(ops.abi_version, CRAB_POLICY_ABI_VERSION);
  EXPECT_EQ(ops.struct_size, sizeof(crab_policy_ops));
  EXPECT_EQ(find_policy(ops.name), &ops);
  EXPECT_NE(std::string(ops.description), "");
  char message[256] = "";
  EXPECT_EQ(ops.self_test(message, sizeof message), 0) << message;
}

TEST_P(EveryPolicy, RefusesUnknownParametersByName) {
  try {
    PolicyInstance::create(*GetParam(), {{"speed", "11"}});
    FAIL() << "accepted";
  } catch (const PolicyError& e) {
    EXPECT_NE(std::string(e.what()).find("'speed'"), std::string::npos) << e.what();
  }
}

TEST_P(EveryPolicy, PicksInRangeForAnySize) {
  const auto instance = PolicyInstance::create(*GetParam(), {});
  for (const std::size_t n : {1, 2, 3, 31, 1000, 10'000}) {
    const auto set = instance->rebuild(backends(std::vector<std::uint32_t>(n, 1)));
    EXPECT_EQ(count_picks(set, n, 5000).size(), n);  // at() throws beyond
  }
}

TEST_P(EveryPolicy, ExplainChangesNothing) {
  const auto instance = PolicyInstance::create(*GetParam(), {});
  const auto set = instance->rebuild(backends({1, 1, 1}));
  const crab_policy_flow flow{.hash = 0x123456789abcdef0, .tuple_hash = 0};
  const auto [pick, why] = set.explain(flow);
  EXPECT_EQ(set.explain(flow).first, pick);
  EXPECT_FALSE(why.empty());
  std::uint32_t picked;
  set.pick({&flow, 1}, {&picked, 1});
  EXPECT_EQ(picked, pick);
}

TEST_P(EveryPolicy, OldSetsOutliveNewOnesAndTheCallersReference) {
  auto instance = PolicyInstance::create(*GetParam(), {});
  auto old_set = instance->rebuild(backends({1, 1}));
  auto new_set = instance->rebuild(backends({1, 1, 1}));
  instance.reset();
  count_picks(old_set, 2, 100);
  count_picks(new_set, 3, 100);
  old_set = std::move(new_set);
  count_picks(old_set, 3, 100);
}

INSTANTIATE_TEST_SUITE_P(BuiltIn, EveryPolicy,
                         ::testing::ValuesIn(built_in_policies().begin(),
                                             built_in_policies().end()),
                         [](const auto& policy) { return policy.param->name; });

TEST(RoundRobin, WithinOneOverAllWorkersTogether) {
  const auto instance = PolicyInstance::create(*find_policy("round_robin"), {});
  constexpr std::size_t kBackends = 7;
  const auto set = instance->rebuild(backends(std::vector<std::uint32_t>(kBackends, 1)));
  std::vector<std::vector<std::uint64_t>> counts(4);
  std::vector<std::thread> workers;
  for (std::size_t w = 0; w < counts.size(); ++w) {
    workers.emplace_back([&, w] { counts[w] = count_picks(set, kBackends, 100'000 + w); });
  }
  for (auto& worker : workers) worker.join();
  std::vector<std::uint64_t> total(kBackends);
  for (const auto& c : counts) {
    for (std::size_t b = 0; b < kBackends; ++b) total[b] += c[b];
  }
  const auto [least, most] = std::minmax_element(total.begin(), total.end());
  EXPECT_LE(*most - *least, 1U);
}

TEST(RoundRobin, GoesOnWhereItWasWhenTheBackendsChange) {
  const auto instance = PolicyInstance::create(*find_policy("round_robin"), {});
  const auto two = instance->rebuild(backends({1, 1}));
  count_picks(two, 2, 3);
  const auto three = instance->rebuild(backends({1, 1, 1}));
  EXPECT_EQ(three.explain({}).first, 0U);  // the fourth connection of three backends
}

TEST(Random, FollowsWeights) {
  const auto instance = PolicyInstance::create(*find_policy("random"), {});
  const std::vector<std::uint32_t> weights = {1,      2'000'000, 3'000'000, CRAB_POLICY_MAX_WEIGHT,
                                              65'535, 10'000};
  const auto set = instance->rebuild(backends(weights));
  constexpr std::uint64_t kPicks = 2'000'000;
  const auto counts = count_picks(set, weights.size(), kPicks);
  double total = 0;
  for (const auto w : weights) total += w;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double expected = kPicks * weights[i] / total;
    // Five standard deviations, for seeds that are fixed.
    EXPECT_NEAR(static_cast<double>(counts[i]), expected, 5 * std::sqrt(expected) + 1) << i;
  }
}

TEST(MaxShare, IsZeroOrAtLeastOne) {
  for (const char* policy : {"join_shortest_queue", "power_of_two"}) {
    const auto answer = [policy](const char* value) -> std::string {
      try {
        PolicyInstance::create(*find_policy(policy), {{"max_share", value}});
      } catch (const PolicyError& error) {
        return error.what();
      }
      return "accepted";
    };
    for (const char* value : {"0", "0.0", "1", "1.5", "1000"}) {
      EXPECT_EQ(answer(value), "accepted") << policy << " " << value;
    }
    for (const char* value : {"0.5", "1e-9", "0.999", "1000.1", "-1", "nan", "x"}) {
      EXPECT_NE(answer(value).find("'max_share': '" + std::string(value) +
                                   "' is neither 0 nor a number from 1 to 1000"),
                std::string::npos)
          << policy << " " << answer(value);
    }
  }
}

TEST(Registry, KnowsNoOther) { EXPECT_EQ(find_policy("best"), nullptr); }

}  // namespace
}  // namespace crab
