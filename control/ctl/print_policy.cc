// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/print_policy.h"

#include <map>

#include "control/ctl/table.h"

namespace crab {
namespace {

std::string origin_of(const v1::PolicyDescription& policy) {
  return policy.plugin().empty() ? "built in" : policy.plugin();
}

std::string yes_or_no(bool is) { return is ? "yes" : "no"; }

}  // namespace

std::string policy_of(const v1::Policy& policy) {
  std::map<std::string, std::string> sorted(policy.parameters().begin(), policy.parameters().end());
  std::string text = policy.name();
  for (const auto& [name, value] : sorted) text += " " + name + "=" + value;
  return text;
}

std::string policy_tables(const v1::ListPoliciesResponse& policies) {
  Table known({{"NAME"}, {"LOAD"}, {"PARAMETERS"}, {"FROM"}, {"DESCRIPTION"}});
  for (const auto& policy : policies.policies()) {
    std::string parameters;
    for (const auto& parameter : policy.parameters()) {
      parameters += (parameters.empty() ? "" : ", ") + parameter.name();
    }
    known.add({policy.name(), yes_or_no(policy.uses_load()), parameters.empty() ? "-" : parameters,
               origin_of(policy), policy.description()});
  }
  if (policies.rejected().empty()) return known.to_string();
  Table rejected({{"NOT USED"}, {"BECAUSE IT"}});
  for (const auto& plugin : policies.rejected()) rejected.add({plugin.path(), plugin.reason()});
  return known.to_string() + "\n" + rejected.to_string();
}

std::string policy_details(const v1::PolicyDescription& policy) {
  std::string text = "name         " + policy.name() + "\ndescription  " + policy.description() +
                     "\nuses load    " + yes_or_no(policy.uses_load()) + "\nfrom         " +
                     origin_of(policy) + "\n";
  if (policy.parameters().empty()) return text;
  Table parameters({{"PARAMETER"}, {"DESCRIPTION"}});
  for (const auto& parameter : policy.parameters()) {
    parameters.add({parameter.name(), parameter.description()});
  }
  return text + "\n" + parameters.to_string();
}

}  // namespace crab
