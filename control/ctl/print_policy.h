// SPDX-License-Identifier: Apache-2.0
// How crabctl writes policies for people.
#pragma once

#include <string>

#include "crab/v1/control.pb.h"

namespace crab {

// Its name and parameters in a line: "maglev table_size=131101".
std::string policy_of(const v1::Policy& policy);
std::string policy_tables(const v1::ListPoliciesResponse& policies);
std::string policy_details(const v1::PolicyDescription& policy);

}  // namespace crab
