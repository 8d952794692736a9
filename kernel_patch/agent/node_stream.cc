// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/node_stream.h"

#include <grpcpp/channel.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <stdexcept>

#include "control/identity/channel.h"
#include "control/identity/connect_probe.h"

namespace crab {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstBackoff{100};
constexpr milliseconds kLastBackoff{1000};
constexpr std::chrono::seconds kLookInterval{10};

// For one stream. That of the stream before is gone, or in use by nobody else.
std::shared_ptr<grpc::Channel> channel_to(const std::string& server, const TlsClientOptions& tls) {
  grpc::ChannelArguments arguments;
  // The channel's own wait between connects, which would come on top of ours.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // A channel of its own for each appliance: not shared with others that have the same arguments.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return make_channel(server, tls, arguments);
}

// Between half of it and all of it, so that a fleet does not come back in step.
milliseconds jittered(milliseconds backoff) {
  static thread_local std::minstd_rand random{std::random_device{}()};
  return backoff / 2 + milliseconds(std::uniform_int_distribution<milliseconds::rep>(
                           0, backoff.count() / 2)(random));
}

}  // namespace

NodeStream::NodeStream(const std::string& server, TlsClientOptions tls, v1::AttachRequest request,
                       NodeHandlers handlers)
    : server_(server),
      tls_(std::move(tls)),
      handlers_(std::move(handlers)),
      request_(std::move(request)),
      thread_([this] { run(); }) {}

std::string NodeStream::why_ended(const grpc::Status& status, bool answered) {
  if (status.ok()) return "the node ended the session";
  // Whom it had reached ended it, or the network between.
  if (answered || status.error_code() != grpc::StatusCode::UNAVAILABLE) {
    return status.error_message();
  }
  const auto now = std::chrono::steady_clock::now();
  if (looked_ == decltype(looked_)() || now - looked_ > kLookInterval) {
    looked_ = now;
    found_ = why_unreachable(server_, tls_);
  }
  return found_.empty() ? status.error_message() : found_;
}

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
  std::shared_ptr<grpc::Channel> channel;
  try {
    channel = channel_to(server_, tls_);
  } catch (const std::runtime_error& error) {
    return {false, error.what()};
  }
  const auto stub = v1::AgentService::NewStub(channel);
  const auto stream = stub->Attach(context.get(), request);
  bool answered = false;
  for (v1::AttachResponse response; stream->Read(&response);) {
    answered = true;
    handlers_.on_response(response);
  }
  return {answered, why_ended(stream->Finish(), answered)};
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
    if (answered) {
      backoff = kFirstBackoff;
      looked_ = {};
    }
    changed_.wait_for(lock, jittered(backoff), [this] { return stopping_ || is_renewed_; });
    backoff = std::min(2 * backoff, kLastBackoff);
  }
}

}  // namespace crab
