// SPDX-License-Identifier: Apache-2.0
#include "control/errors.h"

#include <google/protobuf/util/time_util.h>
#include <grpcpp/support/error_details.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace crab {
namespace {

// The details travel in trailers, of which a peer takes 8 KiB in all, base64 included.
constexpr std::size_t kMaxDetailedFields = 20;
constexpr std::size_t kMaxDetailBytes = 3'000;
constexpr std::size_t kMaxTextBytes = 256;
constexpr std::chrono::milliseconds kDefaultRetry{10'000};

// What quotes a request may be long, or hold control characters that do not belong on a terminal.
std::string presentable(std::string text) {
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  if (text.size() > kMaxTextBytes) text = text.substr(0, kMaxTextBytes - 3) + "...";
  return text;
}

grpc::StatusCode to_code(FailureCode code) {
  switch (code) {
    case FailureCode::InvalidArgument:
      return grpc::StatusCode::INVALID_ARGUMENT;
    case FailureCode::NotFound:
      return grpc::StatusCode::NOT_FOUND;
    case FailureCode::AlreadyExists:
      return grpc::StatusCode::ALREADY_EXISTS;
    case FailureCode::FailedPrecondition:
      return grpc::StatusCode::FAILED_PRECONDITION;
    case FailureCode::Aborted:
      return grpc::StatusCode::ABORTED;
    case FailureCode::ResourceExhausted:
      return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case FailureCode::Unavailable:
      return grpc::StatusCode::UNAVAILABLE;
    case FailureCode::Internal:
      return grpc::StatusCode::INTERNAL;
    case FailureCode::PermissionDenied:
      return grpc::StatusCode::PERMISSION_DENIED;
    case FailureCode::Unauthenticated:
      return grpc::StatusCode::UNAUTHENTICATED;
  }
  return grpc::StatusCode::UNKNOWN;
}

}  // namespace

grpc::Status to_status(const Failure& failure) {
  google::rpc::Status status;
  status.set_code(to_code(failure.code));
  status.set_message(presentable(failure.message));

  google::rpc::ErrorInfo info;
  info.set_reason(failure.reason);
  info.set_domain(kErrorDomain);
  for (const auto& [name, value] : failure.metadata) {
    (*info.mutable_metadata())[name] = presentable(value);
  }
  status.add_details()->PackFrom(info);

  google::rpc::BadRequest request;
  for (const auto& [field, why] : failure.fields) {
    if (static_cast<std::size_t>(request.field_violations_size()) == kMaxDetailedFields ||
        request.ByteSizeLong() > kMaxDetailBytes) {
      status.set_message(presentable(failure.message) + " (the first " +
                         std::to_string(request.field_violations_size()) + " of " +
                         std::to_string(failure.fields.size()) + " are named)");
      break;
    }
    auto* violation = request.add_field_violations();
    violation->set_field(presentable(field));
    violation->set_description(presentable(why));
  }
  if (!failure.fields.empty()) status.add_details()->PackFrom(request);
  if (failure.code == FailureCode::ResourceExhausted) {
    google::rpc::RetryInfo retry;
    const auto delay = failure.retry_after.count() > 0 ? failure.retry_after : kDefaultRetry;
    *retry.mutable_retry_delay() =
        google::protobuf::util::TimeUtil::MillisecondsToDuration(delay.count());
    status.add_details()->PackFrom(retry);
  }
  grpc::Status result;
  grpc::SetErrorDetails(status, &result);
  return result;
}

}  // namespace crab
