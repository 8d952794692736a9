// SPDX-License-Identifier: Apache-2.0
#include "policies/alias_table.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace crab {
namespace {

__extension__ using Wide = unsigned __int128;

}  // namespace

// Exact in integers: each column holds `total` units, and index i brings weight_i * n of them.
AliasTable::AliasTable(std::span<const std::uint32_t> weights) : columns_(weights.size()) {
  const std::uint64_t n = weights.size();
  const std::uint64_t total =
      std::max<std::uint64_t>(1, std::accumulate(weights.begin(), weights.end(), std::uint64_t{0}));
  std::vector<std::uint64_t> units(n);
  std::vector<std::uint32_t> small;
  std::vector<std::uint32_t> large;
  for (std::uint32_t i = 0; i < n; ++i) {
    units[i] = weights[i] * n;
    (units[i] < total ? small : large).push_back(i);
  }
  const auto fill = [&](std::uint32_t i, std::uint32_t alias) {
    const auto scaled = (static_cast<Wide>(units[i]) << 32) / total;
    columns_[i] = {scaled > UINT32_MAX ? UINT32_MAX : static_cast<std::uint32_t>(scaled), alias};
  };
  while (!small.empty() && !large.empty()) {
    const std::uint32_t poor = small.back();
    const std::uint32_t rich = large.back();
    small.pop_back();
    fill(poor, rich);
    units[rich] -= total - units[poor];
    if (units[rich] < total) {
      large.pop_back();
      small.push_back(rich);
    }
  }
  for (const std::uint32_t i : large) fill(i, i);
  for (const std::uint32_t i : small) fill(i, i);
}

}  // namespace crab
