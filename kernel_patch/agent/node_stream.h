// SPDX-License-Identifier: Apache-2.0
// An agent's attachment to one node (AgentService.Attach): kept up for as long as this lives, by a
// thread of its own that attaches again whenever the stream ends.
#pragma once

#include <grpcpp/client_context.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "crab/v1/agent.grpc.pb.h"

namespace crab {

// Called by the stream's thread.
struct NodeHandlers {
  std::function<void(const v1::AttachResponse&)> on_response;
  std::function<void(const std::string& why)> on_end;
};

class NodeStream {
 public:
  // server as crabctl takes it: "unix:/run/crab/control.sock".
  NodeStream(const std::string& server, v1::AttachRequest request, NodeHandlers handlers);
  // Ends the stream; no handler is called afterwards.
  ~NodeStream();

  // Attaches anew with another request, at once.
  void set_request(v1::AttachRequest request);

 private:
  void run();
  // One stream, from the request to its end; whether the node answered, and why it ended.
  std::pair<bool, std::string> follow(const std::shared_ptr<grpc::ClientContext>& context,
                                      const v1::AttachRequest& request);

  const std::unique_ptr<v1::AgentService::Stub> stub_;
  const NodeHandlers handlers_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;                         // mutex_
  bool is_renewed_ = false;                       // mutex_: request_ has not been sent yet
  v1::AttachRequest request_;                     // mutex_
  std::shared_ptr<grpc::ClientContext> context_;  // mutex_: of the stream that is up

  std::jthread thread_;
};

}  // namespace crab
