// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/client.h"

#include <grpcpp/support/error_details.h>

#include <stdexcept>

#include "control/identity/channel.h"
#include "control/identity/connect_probe.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace crab {
namespace {

// INVALID_ARGUMENT and so on, for what a server of ours answers.
const char* name_of(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::INVALID_ARGUMENT:
      return "INVALID_ARGUMENT";
    case grpc::StatusCode::NOT_FOUND:
      return "NOT_FOUND";
    case grpc::StatusCode::ALREADY_EXISTS:
      return "ALREADY_EXISTS";
    case grpc::StatusCode::FAILED_PRECONDITION:
      return "FAILED_PRECONDITION";
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return "RESOURCE_EXHAUSTED";
    case grpc::StatusCode::UNAVAILABLE:
      return "UNAVAILABLE";
    case grpc::StatusCode::UNIMPLEMENTED:
      return "UNIMPLEMENTED";
    case grpc::StatusCode::INTERNAL:
      return "INTERNAL";
    case grpc::StatusCode::ABORTED:
      return "ABORTED";
    case grpc::StatusCode::PERMISSION_DENIED:
      return "PERMISSION_DENIED";
    case grpc::StatusCode::UNAUTHENTICATED:
      return "UNAUTHENTICATED";
    default:
      return "UNKNOWN";
  }
}

}  // namespace

Client::Client(const std::string& server, const TlsClientOptions& tls, std::chrono::seconds timeout)
    : server_(server), tls_(tls), timeout_(timeout) {
  quieten_grpc();
  std::string why = why_no_server(server);
  if (why.empty()) why = why_not_enough(server, tls);
  if (!why.empty()) throw CallError(ExitCode::Usage, why);
  // Of a Unix socket it is known at once; over TCP a handshake more would be one too many.
  if (!parse_tcp_server(server)) why = why_unreachable(server, tls);
  if (!why.empty()) {
    throw CallError(ExitCode::Unreachable, "cannot connect to " + server + ": " + why);
  }
  try {
    channel_ = make_channel(server, tls);
  } catch (const std::runtime_error& error) {
    throw CallError(ExitCode::Usage, error.what());
  }
}

void Client::throw_unless_ok(const grpc::Status& status) const {
  if (status.ok()) return;
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    throw CallError(ExitCode::Unreachable,
                    server_ + " did not answer within " + std::to_string(timeout_.count()) +
                        " s; a change may still take effect (--timeout waits longer)");
  }
  google::rpc::Status details;
  grpc::ExtractErrorDetails(status, &details);
  std::string reason;
  std::string fields;
  for (const auto& any : details.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad;
    if (any.UnpackTo(&info)) reason = info.reason();
    if (!any.UnpackTo(&bad)) continue;
    for (const auto& violation : bad.field_violations()) {
      fields += "; " + violation.field() + ": " + violation.description();
    }
  }
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE && reason.empty()) {
    const std::string why = why_unreachable(server_, tls_);
    throw CallError(ExitCode::Unreachable, "no connection to " + server_ + ": " +
                                               (why.empty() ? status.error_message() : why));
  }
  throw CallError(ExitCode::Refused, std::string(name_of(status.error_code())) +
                                         (reason.empty() ? "" : "/" + reason) + ": " +
                                         status.error_message() + fields);
}

}  // namespace crab
