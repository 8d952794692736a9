// SPDX-License-Identifier: Apache-2.0
// `crab-agent doctor`: why redirection does not work here, each finding with its remedy.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernel_patch/agent/endpoint.h"

namespace crab {

struct Finding {
  // Hint: nothing is wrong, but something to look at may be.
  enum class Level : std::uint8_t { Ok, Hint, Fail };
  Level level = Level::Fail;
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
std::vector<Finding> judge_counters(const std::vector<CounterReading>& counters);

}  // namespace crab
