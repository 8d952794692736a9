// SPDX-License-Identifier: Apache-2.0
// Draws an index in proportion to weights: Walker's alias method in Vose's form (IEEE TSE 17(9),
// 1991). One multiplication and one compare, whatever the weights and however many.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace crab {

class AliasTable {
 public:
  // Precondition: at least one weight, each of them positive.
  explicit AliasTable(std::span<const std::uint32_t> weights);

  // The upper half selects the column by multiplication (Lemire, "Fast random integer generation in
  // an interval", TOMACS 2019, without the rejection: the bias is n / 2^32), the lower half decides
  // between the column's two indices.
  std::uint32_t draw(std::uint64_t random) const {
    const auto i = static_cast<std::uint32_t>(((random >> 32) * columns_.size()) >> 32);
    const Column column = columns_[i];
    return static_cast<std::uint32_t>(random) < column.threshold ? i : column.alias;
  }

 private:
  // Column i stands for index i with probability threshold / 2^32, otherwise for `alias`.
  struct Column {
    std::uint32_t threshold;
    std::uint32_t alias;
  };
  std::vector<Column> columns_;
};

}  // namespace crab
