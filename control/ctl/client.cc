// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/support/error_details.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace crab {
namespace {

constexpr std::string_view kUnix = "unix:";

// gRPC says "failed to connect to all addresses"; the kernel says why. 0 if a process listens.
int connect_error(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return ENAMETOOLONG;
  std::copy(path.begin(), path.end(), address.sun_path);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  const bool connected =
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  const int error = connected ? 0 : errno;
  close(fd);
  return error;
}

std::string remedy(int error) {
  if (error == EACCES || error == EPERM) {
    return "run crabctl as root or as a member of the socket's group";
  }
  return "is crab-lb running, and does its control.listen name this socket? (--server names "
         "another)";
}

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
    default:
      return "UNKNOWN";
  }
}

}  // namespace

Client::Client(const std::string& server, std::chrono::seconds timeout)
    : server_(server), timeout_(timeout) {
  if (server.starts_with(kUnix)) {
    if (const int error = connect_error(server.substr(kUnix.size())); error != 0) {
      throw CallError(ExitCode::Unreachable, "cannot connect to " + server + ": " +
                                                 std::strerror(error) + "; " + remedy(error));
    }
  }
  channel_ = grpc::CreateChannel(server, grpc::InsecureChannelCredentials());
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
    throw CallError(ExitCode::Unreachable, "no connection to " + server_ + ": " +
                                               status.error_message() + "; " + remedy(0));
  }
  throw CallError(ExitCode::Refused, std::string(name_of(status.error_code())) +
                                         (reason.empty() ? "" : "/" + reason) + ": " +
                                         status.error_message() + fields);
}

}  // namespace crab
