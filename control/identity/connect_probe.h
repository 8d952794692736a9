// SPDX-License-Identifier: Apache-2.0
// Why a client cannot connect. gRPC says "failed to connect to all addresses"; this tries once more
// by itself and says what went wrong and what to do.
#pragma once

#include <string>

#include "control/identity/server_options.h"

namespace crab {

// One line without the server's name: "Connection refused; is crab-lb running ...". Empty if it
// connects now. Takes some 5 s at most for each of the host's addresses.
std::string why_unreachable(const std::string& server, const TlsClientOptions& options);

}  // namespace crab
