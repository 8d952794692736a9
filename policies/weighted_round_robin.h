// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "policies/policy.h"

namespace crab {

// Each backend as often as its weight says, spread evenly over the cycle. One cursor per service,
// shared by all workers and claimed once per batch.
extern const crab_policy_ops kWeightedRoundRobinPolicy;

// How often each weight comes in a cycle of the least length, which is the sum of what is returned.
// Exact, if it is at most max(65,536, 16 n); otherwise the weights are scaled down to about that
// length and rounded, to 1 at least: a backend is then off its due by at most one turn in a cycle.
// Precondition: weights are not zero.
std::vector<std::uint32_t> turns_of(std::span<const std::uint32_t> weights);

// The order of a cycle: after any number of picks from its start, each backend has had its due
// (picks * turns / cycle) plus or minus less than one, so that between any two moments it is off
// by less than two. (R. Tijdeman, "The chairman assignment problem", Discrete Mathematics 32,
// 1980, proves 1 - 1/(2n - 2); nobody can promise less for all weights.) Equals keep their order.
std::vector<std::uint32_t> smooth_order(std::span<const std::uint32_t> turns);

}  // namespace crab
