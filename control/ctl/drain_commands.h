// SPDX-License-Identifier: Apache-2.0
// crabctl backend deregister, drain and maintenance.
#pragma once

#include <CLI/CLI.hpp>

#include "control/ctl/command.h"

namespace crab {

void add_drain_commands(CLI::App* backend, Options* options);

}  // namespace crab
