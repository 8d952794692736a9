// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "policies/policy.h"

namespace crab {

// Consistent hashing of addresses and ports, weighted: the same backend for the same tuple on every
// node, and few tuples move when backends come and go (Eisenbud et al., "Maglev: A Fast and
// Reliable Software Network Load Balancer", NSDI 2016, section 3.4).
extern const crab_policy_ops kMaglevPolicy;

// The size of the table that n backends get if the operator sets none: the least prime above
// 65,536 * 2^k, which is at least 100 n. It stays the same over a wide range of n, because another
// size moves nearly every tuple.
std::uint32_t maglev_table_size(std::size_t n_backends);

// The index of the backend that each of `size` entries is for. Only ids and weights decide, not the
// order of the backends. Precondition: size is prime, and at least as many as there are backends,
// of which there are 65,536 at most.
std::vector<std::uint16_t> maglev_table(std::span<const crab_policy_backend> backends,
                                        std::uint32_t size);

}  // namespace crab
