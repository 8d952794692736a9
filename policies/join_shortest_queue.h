// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "policies/policy.h"

namespace crab {

extern const crab_policy_ops kJoinShortestQueuePolicy;

}  // namespace crab
