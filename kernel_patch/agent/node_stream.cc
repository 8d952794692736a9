// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/node_stream.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <chrono>
#include <random>

namespace crab {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstBackoff{100};
constexpr milliseconds kLastBackoff{1000};

std::shared_ptr<grpc::Channel> channel_to(const std::string& server) {
  grpc::ChannelArguments arguments;
  // The channel's own wait between connects, which would come on top of ours.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // A channel of its own for each appliance: not shared with others that have the same arguments.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments);
}

// Between half of it and all of it, so that a fleet does not come back in step.
milliseconds jittered(milliseconds backoff) {
  static thread_local std::minstd_rand random{std::random_device{}()};
  return backoff / 2 + milliseconds(std::uniform_int_distribution<milliseconds::rep>(
                           0, backoff.count() / 2)(random));
}

}  // namespace

NodeStream::NodeStream(const std::string& server, v1::AttachRequest request, NodeHandlers handlers)
    : stub_(v1::AgentService::NewStub(channel_to(server))),
      handlers_(std::move(handlers)),
      request_(std::move(request)),
      thread_([this] { run(); }) {}

NodeStream::~NodeStream() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  if (context_) context_->TryCancel();
  changed_.notify_all();
}

void NodeStream::set_request(v1::AttachRequest request) {
  const std::lock_guard lock(mutex_);
  request_ = std::move(request);
  is_renewed_ = true;
  if (context_) context_->TryCancel();
  changed_.notify_all();
}

std::pair<bool, std::string> NodeStream::follow(const std::shared_ptr<grpc::ClientContext>& context,
                                                const v1::AttachRequest& request) {
  const auto stream = stub_->Attach(context.get(), request);
  bool answered = false;
  for (v1::AttachResponse response; stream->Read(&response);) {
    answered = true;
    handlers_.on_response(response);
  }
  const grpc::Status status = stream->Finish();
  return {answered, status.ok() ? "the node ended the session" : status.error_message()};
}

void NodeStream::run() {
  milliseconds backoff = kFirstBackoff;
  for (;;) {
    v1::AttachRequest request;
    auto context = std::make_shared<grpc::ClientContext>();
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      request = request_;
      is_renewed_ = false;
      context_ = context;
    }
    const auto [answered, why] = follow(context, request);
    std::unique_lock lock(mutex_);
    context_.reset();
    if (stopping_) return;
    lock.unlock();
    handlers_.on_end(why);
    lock.lock();
    if (answered) backoff = kFirstBackoff;
    changed_.wait_for(lock, jittered(backoff), [this] { return stopping_ || is_renewed_; });
    backoff = std::min(2 * backoff, kLastBackoff);
  }
}

}  // namespace crab
