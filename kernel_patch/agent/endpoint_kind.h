// SPDX-License-Identifier: Apache-2.0
// Which of the three implementations redirects in a network namespace.
#pragma once

#include <cstdint>

#include "kernel_patch/bpf/layout.h"

namespace crab {

// The numbers are those of crab_endpoint.kind.
enum class EndpointKind : std::uint32_t {
  Ebpf = CRAB_ENDPOINT_EBPF,
  Netfilter = CRAB_ENDPOINT_NETFILTER,  // the module crab_redirect
  Kernel = CRAB_ENDPOINT_KERNEL,        // the patched TCP stack
};

// What the operator asks for.
enum class EndpointChoice : unsigned { Auto, Ebpf, Netfilter, Kernel };

// As --endpoint and the file have it.
constexpr const char* name_of(EndpointKind kind) {
  switch (kind) {
    case EndpointKind::Netfilter:
      return "netfilter";
    case EndpointKind::Kernel:
      return "kernel";
    default:
      return "ebpf";
  }
}

}  // namespace crab
