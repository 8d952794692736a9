// SPDX-License-Identifier: Apache-2.0
// libbpf's complaints, which say more than the errno that follows them.
#pragma once

#include <string>

#include "kernel_patch/agent/agent_error.h"

namespace crab {

// From now on they are kept for bpf_failure() and not printed.
void keep_bpf_complaints();
void forget_bpf_complaints();
// err is a negative errno.
AgentError bpf_failure(const std::string& what, int err);

}  // namespace crab
