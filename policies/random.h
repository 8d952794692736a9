// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "policies/policy.h"

namespace crab {

// A backend at random, each as likely as its weight's share: the paper's own policy, weighted.
extern const crab_policy_ops kRandomPolicy;

}  // namespace crab
