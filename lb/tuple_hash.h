// SPDX-License-Identifier: Apache-2.0
// A connection's hash by which consistent policies choose: the same on every node and in every run,
// so that a tuple keeps its backend. Known to everybody: who chooses his ports can choose his
// backend.
#pragma once

#include <cstdint>

#include "lb/address.h"

namespace crab {

// `addresses`: source and destination, adjacent, as in the IP header; `ports`: the same of TCP's.
std::uint64_t hash_tuple(Family family, const std::uint8_t* addresses, const std::uint8_t* ports);

}  // namespace crab
