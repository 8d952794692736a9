// SPDX-License-Identifier: Apache-2.0
// A scenario on the command line.
#pragma once

#include <CLI/App.hpp>
#include <string>
#include <utility>

#include "perf/sim/campaign.h"
#include "perf/sim/scenario.h"
#include "perf/sim/sweep.h"

namespace crab::sim {

// The options write to the scenario when they are parsed. All but its seed and length.
void add_scenario_options(CLI::App& app, Scenario& scenario);
// Those of its base, too.
void add_sweep_options(CLI::App& app, Sweep& sweep);
void add_effort_options(CLI::App& app, Effort& effort);

// "NAME" or "NAME:KEY=VALUE,KEY=VALUE". Throws std::invalid_argument.
std::pair<std::string, PolicyInstance::Parameters> parse_policy(const std::string& text);

}  // namespace crab::sim
