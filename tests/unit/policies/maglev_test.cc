// SPDX-License-Identifier: Apache-2.0
#include "policies/maglev.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "policies/registry.h"

namespace crab {
namespace {

// Backends with ids of their own; the index stands in load_slot.
class Fleet {
 public:
  explicit Fleet(std::vector<std::uint32_t> weights) : weights_(std::move(weights)) {
    for (std::size_t i = 0; i < weights_.size(); ++i) ids_.push_back("web-" + std::to_string(i));
  }
  explicit Fleet(std::size_t n) : Fleet(std::vector<std::uint32_t>(n, 1)) {}

  std::vector<crab_policy_backend> backends(std::size_t without = ~std::size_t{0}) const {
    std::vector<crab_policy_backend> out;
    for (std::uint32_t i = 0; i < ids_.size(); ++i) {
      if (i != without) out.push_back({ids_[i].c_str(), i, weights_[i]});
    }
    return out;
  }

 private:
  std::vector<std::uint32_t> weights_;
  std::vector<std::string> ids_;
};

// By entry: which of the fleet it is for, however the array was ordered.
std::vector<std::uint32_t> owners(const std::vector<crab_policy_backend>& backends,
                                  std::uint32_t size) {
  std::vector<std::uint32_t> out;
  for (const auto index : maglev_table(backends, size)) out.push_back(backends[index].load_slot);
  return out;
}

std::vector<std::uint64_t> count_owners(const std::vector<std::uint32_t>& table, std::size_t n) {
  std::vector<std::uint64_t> counts(n);
  for (const auto owner : table) ++counts.at(owner);
  return counts;
}

TEST(Maglev, EntriesFollowWeightsWithinOne) {
  for (const std::vector<std::uint32_t>& weights :
       {std::vector<std::uint32_t>(48, 1), {1, 2, 3, 4, 5, 6, 7}, {65'535, 1, 300}, {7}}) {
    const Fleet fleet(weights);
    const auto size = maglev_table_size(weights.size());
    const auto counts = count_owners(owners(fleet.backends(), size), weights.size());
    double total = 0;
    for (const auto w : weights) total += w;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      EXPECT_NEAR(static_cast<double>(counts[i]), size * weights[i] / total, 1.0) << i;
    }
  }
}

TEST(Maglev, NobodyIsWithoutAnEntryWhateverTheWeights) {
  std::vector<std::uint32_t> weights(1000, 1);
  weights[17] = CRAB_POLICY_MAX_WEIGHT;
  const auto table = owners(Fleet(weights).backends(), maglev_table_size(weights.size()));
  const auto counts = count_owners(table, weights.size());
  EXPECT_EQ(*std::min_element(counts.begin(), counts.end()), 1U);
}

TEST(Maglev, TableIsTheSameInWhateverOrderTheBackendsCome) {
  const Fleet fleet({3, 1, 2, 1, 5, 1, 1, 8});
  auto backends = fleet.backends();
  const auto table = owners(backends, 65'537);
  std::reverse(backends.begin(), backends.end());
  EXPECT_EQ(owners(backends, 65'537), table);
}

// The share of all keys that moved although they could have stayed when one of n backends went. The
// optimum is none: then just the 1/n that the departed had moves. The same figure stands for its
// return.
double moved_in_vain(std::size_t n, std::uint32_t size, std::uint32_t departed) {
  const Fleet fleet(n);
  const auto before = owners(fleet.backends(), size);
  const auto after = owners(fleet.backends(departed), size);
  std::size_t n_moved = 0;
  for (std::size_t i = 0; i < size; ++i) {
    n_moved += before[i] != departed && before[i] != after[i] ? 1U : 0U;
  }
  return static_cast<double>(n_moved) / size;
}

TEST(Maglev, FewKeysMoveWhenABackendGoesOrComes) {
  for (const std::size_t n : {3, 48, 655, 1000}) {
    double sum = 0;
    constexpr std::uint32_t kDepartures = 3;
    for (std::uint32_t departed = 0; departed < kDepartures; ++departed) {
      sum += moved_in_vain(n, maglev_table_size(n), departed);
    }
    const double moved = sum / kDepartures;
    RecordProperty("moved_beyond_the_optimum_of_" + std::to_string(n), std::to_string(moved));
    EXPECT_LT(moved, 0.01) << n;
  }
}

TEST(Maglev, AnotherWeightMovesLittleMoreThanTheShareItGained) {
  const Fleet before(std::vector<std::uint32_t>(10, 10));
  std::vector<std::uint32_t> weights(10, 10);
  weights[3] = 20;
  const auto a = owners(before.backends(), 65'537);
  const auto b = owners(Fleet(weights).backends(), 65'537);
  std::size_t n_moved = 0;
  for (std::size_t i = 0; i < a.size(); ++i) n_moved += a[i] != b[i] ? 1U : 0U;
  const double gained = 20.0 / 110 - 10.0 / 100;
  EXPECT_LT(static_cast<double>(n_moved) / 65'537, gained + 0.01);
}

TEST(Maglev, TableGrowsWithTheFleetInWideSteps) {
  EXPECT_EQ(maglev_table_size(1), 65'537U);
  EXPECT_EQ(maglev_table_size(655), 65'537U);
  EXPECT_EQ(maglev_table_size(656), 131'101U);
  EXPECT_EQ(maglev_table_size(1310), 131'101U);
  EXPECT_GE(maglev_table_size(10'000), 1'000'000U);
}

TEST(Maglev, SameTupleSameBackendWhateverTheOtherHash) {
  const Fleet fleet(48);
  const auto first = PolicyInstance::create(*find_policy("maglev"), {});
  const auto second = PolicyInstance::create(*find_policy("maglev"), {});
  const auto a = first->rebuild(fleet.backends());
  const auto b = second->rebuild(fleet.backends());
  EXPECT_TRUE(a.needs_tuple_hash());
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const crab_policy_flow one{.hash = i, .tuple_hash = i * 0x9e3779b97f4a7c15};
    const crab_policy_flow two{.hash = ~i, .tuple_hash = one.tuple_hash};
    std::uint32_t picks[2];
    a.pick({&one, 1}, {&picks[0], 1});
    b.pick({&two, 1}, {&picks[1], 1});
    EXPECT_EQ(picks[0], picks[1]);
  }
}

std::string refusal(const PolicyInstance::Parameters& parameters) {
  try {
    PolicyInstance::create(*find_policy("maglev"), parameters);
  } catch (const PolicyError& e) {
    return e.what();
  }
  return "";
}

TEST(Maglev, ChecksTheTableSize) {
  EXPECT_EQ(refusal({{"table_size", "65537"}}), "");
  EXPECT_EQ(refusal({{"table_size", "65536"}}),
            "maglev: parameter 'table_size': 65536 is not a prime number; the next one is 65537");
  EXPECT_EQ(refusal({{"table_size", "97"}}),
            "maglev: parameter 'table_size': '97' is not a whole number from 101 to 16777213");
  EXPECT_EQ(refusal({{"table_size", "16777213"}}), "");
  const auto small = PolicyInstance::create(*find_policy("maglev"), {{"table_size", "101"}});
  EXPECT_NO_THROW(small->rebuild(Fleet(101).backends()));
  EXPECT_THROW(small->rebuild(Fleet(102).backends()), PolicyError);
}

}  // namespace
}  // namespace crab
