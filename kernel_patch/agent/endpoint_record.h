// SPDX-License-Identifier: Apache-2.0
// What kind of endpoint a pin directory belongs to: crab_endpoint, pinned beside everything else,
// so that `status` and `remove` know without an agent; and pinned arrays that no program brings.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "kernel_patch/agent/bpffs.h"
#include "kernel_patch/agent/endpoint_kind.h"

namespace crab {

struct EndpointRecord {
  EndpointKind kind = EndpointKind::Ebpf;
  std::uint64_t netns_cookie = 0;  // 0: not known
  unsigned roles = 0;
  std::string why;
};

// Empty if nothing is installed.
std::optional<EndpointRecord> read_record(const PinDirectory& directory);
// After the installation it speaks of: one that fails leaves none. Throws AgentError.
void write_record(const PinDirectory& directory, const EndpointRecord& record);
void forget_record(const PinDirectory& directory);

// An array of n elements that can be mapped (SharedMap); true if it was made now. Throws
// AgentError.
bool ensure_array(const PinDirectory& directory, const char* name, std::size_t element_bytes,
                  std::size_t n);

}  // namespace crab
