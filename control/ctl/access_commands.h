// SPDX-License-Identifier: Apache-2.0
// crabctl status and crabctl whoami: how the node is reached, and as whom.
#pragma once

#include <string>

#include "control/ctl/command.h"
#include "crab/v1/access.pb.h"

namespace CLI {
class App;
}

namespace crab {

void add_access_commands(CLI::App* app, Options* options);

// `colours`: for a terminal.
std::string access_text(const v1::GetAccessResponse& access, bool colours);

}  // namespace crab
