// SPDX-License-Identifier: Apache-2.0
// The TCP connections of this network namespace, as the kernel's sock_diag lists them.
#pragma once

#include <cstdint>
#include <functional>

#include "kernel_patch/bpf/layout.h"

namespace crab {

struct TcpSocket {
  crab_tuple tuple;           // addresses mapped, as everywhere in the maps
  bool is_lingering = false;  // FIN-WAIT-2 without a socket: closed, and waiting for the peer's FIN
};

// Visits each connection from ESTABLISHED to LAST-ACK, once, in no order; one that comes or goes
// meanwhile may be missed. port, in host order, limits it to that local port; 0 does not.
// Throws AgentError.
void for_each_open_socket(std::uint16_t port, const std::function<void(const TcpSocket&)>& visit);

}  // namespace crab
