// SPDX-License-Identifier: Apache-2.0
// Policies from shared objects: what a plugin has to be before it is in the registry.
#pragma once

#include <string>

#include "policies/policy.h"

namespace crab {

inline constexpr const char* kDefaultPolicyDirectory = "/usr/lib/crab/policies";

// Looks at every *.so of the directory, in the order of their names, and adds each to the registry:
// as a policy, or as refused with the reason. A directory that does not exist holds none; one that
// others may write to, and what else is wrong with it as a whole, is refused under its own name. A
// file is looked at once, however often this is called.
//
// A plugin runs in this process with all its rights: the checks find mistakes and an old build, and
// keep out what another user has put there. None of them is ever unloaded, not even a refused one
// whose code has run: nobody knows what it has left behind.
//
// Before other threads start.
void load_policy_plugins(const std::string& directory);

// Why this is not a policy that we can run; empty if it is. Runs its self-test last. `ops` may be
// of any ABI version; it is not changed.
std::string why_unusable(const crab_policy_ops* ops);

}  // namespace crab
