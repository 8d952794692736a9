// SPDX-License-Identifier: Apache-2.0
// A client's connection to a node's control API.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/support/channel_arguments.h>

#include <memory>
#include <string>

#include "control/identity/server_options.h"

namespace crab {

// Reads the certificates now: another channel reads them anew. Does not connect yet. Throws
// std::runtime_error, one line, if a file is missing, damaged or not of the others, or the own
// certificate has expired. Preconditions: why_no_server() and why_not_enough() find nothing.
std::shared_ptr<grpc::Channel> make_channel(const std::string& server,
                                            const TlsClientOptions& options,
                                            grpc::ChannelArguments arguments = {});

// gRPC's own log, of this whole process, from now on: nothing unless the variable GRPC_VERBOSITY
// asks for it. What it says of a failed handshake, why_unreachable() says in words for people.
void quieten_grpc();

}  // namespace crab
