// SPDX-License-Identifier: Apache-2.0
// A backend as one word on the command line: ID=ADDRESS:PORT[,weight=N], IPv6 in brackets.
#pragma once

#include <string>

#include "crab/v1/resources.pb.h"

namespace crab {

inline constexpr const char* kBackendArgument = "ID=ADDRESS:PORT[,weight=N]";

// Returns an empty string, or what is wrong. Whether address and port make sense is the server's
// to say.
std::string parse_backend(const std::string& text, v1::Backend* backend);

}  // namespace crab
