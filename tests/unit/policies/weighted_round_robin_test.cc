// SPDX-License-Identifier: Apache-2.0
#include "policies/weighted_round_robin.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <thread>

#include "policies/registry.h"

namespace crab {
namespace {

using Weights = std::vector<std::uint32_t>;

PolicySet make_set(const Weights& weights) {
  std::vector<crab_policy_backend> backends;
  for (std::uint32_t i = 0; i < weights.size(); ++i) backends.push_back({"b", i, weights[i]});
  return PolicyInstance::create(*find_policy("weighted_round_robin"), {})->rebuild(backends);
}

std::vector<std::uint32_t> take(const PolicySet& set, std::size_t n) {
  const std::vector<crab_policy_flow> flows(n);
  std::vector<std::uint32_t> picks(n);
  set.pick(flows, picks);
  return picks;
}

std::vector<Weights> cases() {
  std::vector<Weights> out = {{1},          {5, 1, 1},        {10, 2, 2},
                              {1, 1, 1, 1}, {1, 2, 3, 4, 5},  {100, 1},
                              {7, 5, 3, 2}, {90, 1, 1, 1, 7}, {30'000, 20'000, 10'001}};
  Weights mixed;
  for (std::uint32_t i = 0; i < 300; ++i) mixed.push_back(1 + i * 7919 % 97);
  out.push_back(mixed);
  return out;
}

TEST(WeightedRoundRobin, IsSmoothAndExactOverACycle) {
  for (const Weights& weights : cases()) {
    const auto turns = turns_of(weights);
    const std::uint64_t cycle = std::accumulate(turns.begin(), turns.end(), std::uint64_t{0});
    const auto order = smooth_order(turns);
    ASSERT_EQ(order.size(), cycle);
    // In units of 1/cycle: how far each backend is ahead of its due, and the extremes of that.
    std::vector<std::int64_t> ahead(weights.size());
    auto least = ahead;
    auto most = ahead;
    std::vector<std::int64_t> taken(weights.size());
    const auto n = static_cast<std::int64_t>(cycle);
    for (std::int64_t t = 1; t <= n; ++t) {
      ++taken.at(order[static_cast<std::size_t>(t - 1)]);
      for (std::size_t b = 0; b < weights.size(); ++b) {
        ahead[b] = taken[b] * n - t * turns[b];
        least[b] = std::min(least[b], ahead[b]);
        most[b] = std::max(most[b], ahead[b]);
      }
    }
    for (std::size_t b = 0; b < weights.size(); ++b) {
      EXPECT_EQ(taken[b], turns[b]);
      // From the cycle's start: less than one off. Between any two moments: the spread.
      EXPECT_LT(most[b], n) << b;
      EXPECT_GT(least[b], -n) << b;
      EXPECT_LT(most[b] - least[b], 2 * n) << b;
    }
  }
}

TEST(WeightedRoundRobin, EqualsKeepTheirOrder) {
  EXPECT_EQ(take(make_set({1, 1, 1}), 7), (std::vector<std::uint32_t>{0, 1, 2, 0, 1, 2, 0}));
  EXPECT_EQ(take(make_set({9, 9, 9}), 4), (std::vector<std::uint32_t>{0, 1, 2, 0}));
  EXPECT_EQ(take(make_set({2, 1, 1}), 8), (std::vector<std::uint32_t>{0, 1, 2, 0, 0, 1, 2, 0}));
}

TEST(WeightedRoundRobin, OnlyRatiosMatter) {
  EXPECT_EQ(turns_of(Weights{256 * 65'533, 256 * 3}), (Weights{65'533, 3}));
  EXPECT_EQ(turns_of(Weights{300, 100, 200}), (Weights{3, 1, 2}));
}

// Beyond 65,536 turns: no share is off by more than a turn, and none is nothing.
TEST(WeightedRoundRobin, WeightsOfAnySizeAreClose) {
  const Weights weights = {CRAB_POLICY_MAX_WEIGHT, CRAB_POLICY_MAX_WEIGHT - 1, 1'000'003, 77'777,
                           1};
  const auto turns = turns_of(weights);
  const double cycle = std::accumulate(turns.begin(), turns.end(), 0.0);
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  EXPECT_NEAR(cycle, 65'536, 5);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    EXPECT_GE(turns[i], 1U);
    EXPECT_NEAR(turns[i], weights[i] / total * cycle, 1) << i;
  }
}

TEST(WeightedRoundRobin, TenThousandUnequalBackends) {
  Weights weights;
  for (std::uint32_t i = 0; i < 10'000; ++i) weights.push_back(1 + i % 100 * 997);
  const auto turns = turns_of(weights);
  const auto order = smooth_order(turns);
  std::vector<std::uint32_t> counts(weights.size());
  for (const auto b : order) ++counts.at(b);
  EXPECT_EQ(counts, turns);
}

TEST(WeightedRoundRobin, WithinOneOverAllWorkersTogether) {
  const Weights weights = {5, 3, 1, 1, 7};
  const auto set = make_set(weights);
  constexpr std::size_t kCycle = 17;
  std::vector<std::vector<std::uint64_t>> counts(4, std::vector<std::uint64_t>(weights.size()));
  std::uint64_t n_total = 0;
  std::vector<std::thread> workers;
  for (std::size_t w = 0; w < counts.size(); ++w) {
    const std::size_t n_batches = 5'000 + w * 11;
    for (std::size_t k = 0; k < n_batches; ++k) n_total += 1 + k % 32;
    workers.emplace_back([&, w, n_batches] {
      for (std::size_t k = 0; k < n_batches; ++k) {
        for (const auto b : take(set, 1 + k % 32)) ++counts[w].at(b);
      }
    });
  }
  for (auto& worker : workers) worker.join();
  for (std::size_t b = 0; b < weights.size(); ++b) {
    std::uint64_t n = 0;
    for (const auto& c : counts) n += c[b];
    const double due = static_cast<double>(n_total) * weights[b] / kCycle;
    EXPECT_LT(std::abs(static_cast<double>(n) - due), 1) << b;
  }
}

}  // namespace
}  // namespace crab
