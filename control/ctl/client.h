// SPDX-License-Identifier: Apache-2.0
// crabctl's side of the connection: one server, calls with a deadline, failures as one line.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>

#include "control/identity/server_options.h"
#include "crab/v1/control.grpc.pb.h"

namespace crab {

// Exit codes, as --help and docs/api.md state them.
enum class ExitCode : int { Ok = 0, Refused = 1, Usage = 2, Unreachable = 3 };

// Ends the program with one line.
class CallError : public std::runtime_error {
 public:
  CallError(ExitCode code, const std::string& line) : std::runtime_error(line), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

class Client {
 public:
  // Throws CallError, with what to do about it, if nothing listens there or the certificates are no
  // good.
  Client(const std::string& server, const TlsClientOptions& tls, std::chrono::seconds timeout);

  // Calls an rpc of one of the stubs. Throws CallError unless it succeeds.
  template <typename Stub, typename Request, typename Response>
  Response call(grpc::Status (Stub::*rpc)(grpc::ClientContext*, const Request&, Response*),
                const Request& request) {
    Stub stub(channel_, {});
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + timeout_);
    Response response;
    throw_unless_ok((stub.*rpc)(&context, request, &response));
    return response;
  }

 private:
  void throw_unless_ok(const grpc::Status& status) const;

  const std::string server_;
  const TlsClientOptions tls_;
  const std::chrono::seconds timeout_;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace crab
