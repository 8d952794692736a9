// SPDX-License-Identifier: Apache-2.0
// The addresses that a host may have backends at.
#pragma once

#include <vector>

#include "lb/address.h"

namespace crab {

// This network namespace's own, sorted; without loopback and link-local ones. Throws
// std::system_error.
std::vector<IpAddress> host_addresses();

}  // namespace crab
