// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "policies/policy.h"

namespace crab {

// Each backend in turn, whatever its weight. One cursor per service, shared by all workers and
// claimed once per batch, so that the counts over all workers together differ by at most one
// while the set of backends stays as it is.
extern const crab_policy_ops kRoundRobinPolicy;

}  // namespace crab
