// SPDX-License-Identifier: Apache-2.0
// What all rpcs that change something have in common: request_id, validate_only and wait_for; the
// way to the strand and back.
#pragma once

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <memory>
#include <string>
#include <utility>

#include "control/errors.h"
#include "control/manager.h"
#include "control/service_context.h"

namespace crab {

// Of a request's options by themselves.
FieldErrors validate_change(const std::string& request_id, v1::WaitFor wait_for);

template <typename Request>
std::string fingerprint(Request request) {
  request.clear_request_id();
  std::string bytes = std::string(Request::descriptor()->full_name()) + '\n';
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  request.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

template <typename Request>
Manager::Answer answer_of(const Request& request) {
  if (request.validate_only()) return Manager::Answer::WhenChecked;
  return request.wait_for() == v1::WAIT_FOR_ACCEPTED ? Manager::Answer::WhenAccepted
                                                     : Manager::Answer::WhenApplied;
}

// Hands a change to the strand. `fill(reply, &response)` writes the response, on the strand.
template <typename Request, typename Response, typename Fill>
grpc::ServerUnaryReactor* answer_change(ServiceContext& context, grpc::CallbackServerContext* rpc,
                                        const Request& request, Response* response,
                                        Manager::Change change, Fill fill) {
  auto* reactor = rpc->DefaultReactor();
  const auto call = context.calls.add(reactor);
  if (!call) return reactor;
  const auto finish = [&calls = context.calls, call](const grpc::Status& status, auto write) {
    calls.answer(call, status, write);
  };
  const auto refuse = [finish](const Failure& failure) { finish(to_status(failure), [] {}); };
  if (auto errors = validate_change(request.request_id(), request.wait_for()); !errors.empty()) {
    refuse(invalid_fields(std::move(errors)));
    return reactor;
  }
  const std::string id = request.validate_only() ? "" : request.request_id();
  if (!id.empty()) {
    const auto deliver = [finish, response](const grpc::Status& status, const std::string& bytes) {
      finish(status, [&] { response->ParseFromString(bytes); });
    };
    const auto seen = context.requests.begin(id, fingerprint(request), deliver);
    if (seen == RequestCache::Seen::Alike) {
      context.manager->counters().n_repeated_requests += 1;
      return reactor;
    }
    if (seen == RequestCache::Seen::Otherwise) {
      refuse({FailureCode::InvalidArgument,
              "REQUEST_ID_REUSED",
              "request_id is that of another request",
              {{"request_id", "has been used with another request"}},
              {}});
      return reactor;
    }
  }
  context.manager->submit(
      std::move(change),
      [&requests = context.requests, finish, response, fill, id](
          const std::optional<Failure>& failure, const Manager::Reply& reply) {
        Response answer;
        if (!failure) fill(reply, &answer);
        const auto status = failure ? to_status(*failure) : grpc::Status::OK;
        if (!id.empty()) requests.finish(id, status, answer.SerializeAsString());
        finish(status, [&] { response->Swap(&answer); });
      },
      answer_of(request));
  return reactor;
}

}  // namespace crab
