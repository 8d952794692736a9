// SPDX-License-Identifier: Apache-2.0
// The process's log: one line each on standard error, as text or as JSON.
#pragma once

#include <string>

namespace crab {

// `level` is one of spdlog's names (trace, debug, info, warning, error, critical, off); `format`
// is text or json. Before any other thread logs.
void set_up_logging(const std::string& level, const std::string& format);

}  // namespace crab
