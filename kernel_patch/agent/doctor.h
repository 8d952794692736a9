// SPDX-License-Identifier: Apache-2.0
// `crab-agent doctor`: why redirection does not work here, each finding with its remedy.
#pragma once

#include <string>
#include <vector>

#include "kernel_patch/agent/endpoint.h"

namespace crab {

struct Finding {
  bool ok = false;
  std::string text;    // what was found
  std::string remedy;  // what mends it; empty if ok
};

struct DoctorOptions {
  EndpointOptions endpoint;
  std::string config_path;
};

// Changes nothing. In the order in which things have to be right.
std::vector<Finding> examine(const DoctorOptions& options);

// A line each.
std::string findings_text(const std::vector<Finding>& findings);

// What counters say is wrong, for an endpoint that is installed.
std::vector<Finding> judge_counters(const Counters& counters);

}  // namespace crab
